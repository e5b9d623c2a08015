# Copyright 2026 c7_inference_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

from pathlib import Path

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.benchmarking import pictures as picturing
from c7_inference_ros.tools.benchmarking.pictures import made_pictures
from c7_inference_ros.tools.benchmarking.pictures import pictures_of_bag
from c7_inference_ros.tools.benchmarking.pictures import pictures_of_folder
import cv2
import numpy as np
import pytest

SHARED = Path(__file__).resolve().parents[3] / 'shared' / 'data'


def save(path, width=8, height=6, value=9):
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), value, np.uint8))


def test_pictures_of_a_folder_in_the_order_of_their_names(tmp_path):
    for index in (2, 0, 1):
        save(tmp_path / f'{index}.png', value=index)
    save(tmp_path / 'sub' / '3.PNG', value=3)
    (tmp_path / 'text.txt').write_text('no picture')
    found = pictures_of_folder(tmp_path)
    assert [int(image.pixels[0, 0, 0]) for image in found.images] == [0, 1, 2, 3]
    assert found.as_dict()['sizes'] == ['8x6'] and found.problems == ()
    assert found.description.startswith('4 of 4 pictures')


def test_many_are_spread_and_few_bytes_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(picturing, 'MAX_PICTURES', 4)
    for index in range(16):
        save(tmp_path / f'{index:02}.png', value=index)
    found = pictures_of_folder(tmp_path)
    assert [int(image.pixels[0, 0, 0]) for image in found.images] == [0, 4, 8, 12]
    monkeypatch.setattr(picturing, 'MAX_BYTES', 2 * 8 * 6 * 3)
    found = pictures_of_folder(tmp_path)
    assert len(found.images) == 2 and 'only the first 2 pictures' in found.problems[0]


def test_a_broken_picture_is_left_out_and_named(tmp_path):
    save(tmp_path / 'good.png')
    (tmp_path / 'bad.jpg').write_bytes(b'\xff\xd8 not really')
    found = pictures_of_folder(tmp_path)
    assert len(found.images) == 1
    assert len(found.problems) == 1 and 'bad.jpg' in found.problems[0]


def test_folders_that_cannot_be_used(tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'broken').mkdir()
    (tmp_path / 'broken' / 'x.png').write_bytes(b'')
    for name, words in (('file', 'is a file, expected a folder'), ('none', 'is not there'),
                        ('empty', 'has no .jpg, .jpeg, .png file'),
                        ('broken', 'no picture in .* can be used: .*x.png')):
        with pytest.raises(ConfigurationError, match=words):
            pictures_of_folder(tmp_path / name)


def test_made_pictures_are_always_the_same_and_not_flat():
    found = made_pictures(['64x48', '320x240'])
    assert found.sizes == ('64x48', '320x240') and len(found.images) == 8
    assert found.as_dict()['sha256'] == made_pictures(['64x48', '320x240']).as_dict()['sha256']
    assert min(image.pixels.std() for image in found.images) > 10
    for text in ('64', '0x5', '64x-1', 'axb', '99999x99999'):
        with pytest.raises(ConfigurationError, match='--sizes has'):
            made_pictures([text])


def bag(name):
    if not (SHARED / 'bags' / name).is_dir():
        pytest.skip(f'{name} is not here')
    return SHARED / 'bags' / name


def test_images_of_a_bag():
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    found = pictures_of_bag(bag('road_compressed_mcap'))
    assert len(found.images) == 32 and found.sizes == ('640x360',)
    assert found.description == ('32 of 38 images on /camera/image_raw/compressed in '
                                 'road_compressed_mcap')
    assert len(pictures_of_bag(bag('road_raw_sqlite3'), '/camera/image_raw').images) == 5
    with pytest.raises(ConfigurationError, match='has nothing on /camera'):
        pictures_of_bag(bag('road_raw_sqlite3'), '/camera')


def test_a_bag_that_is_none(tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed')
    with pytest.raises(ConfigurationError, match=str(tmp_path / 'none')):
        pictures_of_bag(tmp_path / 'none')
