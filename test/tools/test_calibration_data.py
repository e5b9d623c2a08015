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

"""Images to calibrate with: their order, their hash, and the preprocessing of the node."""

from pathlib import Path
import shutil

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.errors import CalibrationCacheError
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.pipeline.model_contract import resolve_contract
from c7_inference_ros.runtime.base import EngineHandle
from c7_inference_ros.tools.calibration_data import BagTopic
from c7_inference_ros.tools.calibration_data import calibration_feeds
from c7_inference_ros.tools.calibration_data import PictureFolder
from c7_inference_ros.vision.preprocess import Preprocessor
import numpy as np
import pytest

cv2 = pytest.importorskip('cv2', reason='OpenCV is not installed; run: make env')
ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / 'shared'
COMPRESSED, RAW = '/camera/image_raw/compressed', '/camera/image_raw'


def picture(path, value, size=(8, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((size[1], size[0], 3), value, np.uint8))
    return path


def values(dataset):
    """Return the value of the pixels of each picture."""
    return [int(image.pixels.flat[0]) for image in dataset.images()]


@pytest.fixture()
def folder(tmp_path):
    """Make five pictures whose values are 10, 20, ..., not written in that order."""
    for index in (3, 1, 4, 0, 2):
        picture(tmp_path / 'set' / f'{index}.png', (index + 1) * 10)
    return tmp_path / 'set'


def bag(name):
    path = SHARED / 'data' / 'bags' / name
    if not path.exists():
        pytest.skip(f'../shared/data/bags/{name} is not here')
    pytest.importorskip('rosbags', reason='rosbags is not installed; run: make env')
    return path


# Folders --------------------------------------------------------------------------------------


def test_pictures_in_the_order_of_their_names(folder):
    dataset = PictureFolder(folder, 1)
    assert len(dataset) == 5 and values(dataset) == [10, 20, 30, 40, 50]
    assert values(dataset) == [10, 20, 30, 40, 50]
    assert dataset.description == '5 pictures in set'


def test_subfolders_other_files_and_hidden_ones(folder):
    picture(folder / 'a' / '9.JPG', 60)
    picture(folder / '.hidden.png', 70)
    (folder / 'notes.txt').write_text('x')
    (folder / 'folder.png').mkdir()
    assert values(PictureFolder(folder, 1)) == [10, 20, 30, 40, 50, 60]


def test_the_hash_is_of_content_and_order(folder, tmp_path):
    wanted = PictureFolder(folder, 1).sha256
    shutil.copytree(folder, tmp_path / 'other')
    assert PictureFolder(tmp_path / 'other', 1).sha256 == wanted
    (tmp_path / 'other' / '4.png').rename(tmp_path / 'other' / '5.png')
    assert PictureFolder(tmp_path / 'other', 1).sha256 == wanted
    (tmp_path / 'other' / '5.png').rename(tmp_path / 'other' / '-.png')
    assert PictureFolder(tmp_path / 'other', 1).sha256 != wanted
    picture(folder / '2.png', 31)
    assert PictureFolder(folder, 1).sha256 != wanted
    picture(folder / '2.png', 30)
    assert PictureFolder(folder, 1).sha256 == wanted
    (folder / '2.png').unlink()
    assert PictureFolder(folder, 1).sha256 != wanted


@pytest.mark.parametrize('most, wanted', [(5, [10, 20, 30, 40, 50]), (3, [10, 20, 40]), (1, [10])])
def test_of_many_some_are_taken_evenly(folder, most, wanted):
    dataset = PictureFolder(folder, 1, most)
    assert len(dataset) == len(wanted) and values(dataset) == wanted


@pytest.mark.parametrize('minimum', [0, 16])
def test_empty_folders(tmp_path, minimum):
    with pytest.raises(CalibrationCacheError, match='has 0 .jpg, .jpeg, .png files, expected at'):
        PictureFolder(tmp_path, minimum)


def test_too_few(folder):
    with pytest.raises(CalibrationCacheError, match='has 5 .* files, expected at least 16'):
        PictureFolder(folder)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(CalibrationCacheError, match='has 0'):
        PictureFolder(tmp_path / 'missing')


@pytest.mark.parametrize('data', [b'', b'hello', b'\x89PNG\r\n\x1a\n' + bytes(40)])
def test_a_picture_that_cannot_be_read(folder, data):
    (folder / '2.png').write_bytes(data)
    images = PictureFolder(folder, 1).images()
    next(images), next(images)
    with pytest.raises(CalibrationCacheError, match='2.png cannot be used: .*; take it away'):
        next(images)


def test_a_picture_that_changes_meanwhile(folder):
    dataset = PictureFolder(folder, 1)
    images = dataset.images()
    next(images)
    picture(folder / '1.png', 99)
    with pytest.raises(CalibrationCacheError, match='1.png changed while'):
        next(images)
    (folder / '0.png').unlink()
    with pytest.raises(CalibrationCacheError, match='0.png cannot be read'):
        next(dataset.images())


# Bags -----------------------------------------------------------------------------------------


@pytest.mark.parametrize('name, topic, count', [
    ('road_compressed_mcap', COMPRESSED, 38), ('road_raw_sqlite3', RAW, 5)])
def test_images_of_a_topic(name, topic, count):
    dataset = BagTopic(bag(name), topic, minimum=1)
    found = list(dataset.images())
    assert len(dataset) == len(found) == count
    assert {image.pixels.shape for image in found} == {(360, 640, 3)}
    assert dataset.description == f'{count} images of {topic} in {name}'
    assert BagTopic(bag(name), topic, minimum=1).sha256 == dataset.sha256


def test_every_nth_up_to_some():
    path = bag('road_compressed_mcap')
    whole = [image.pixels for image in BagTopic(path, COMPRESSED).images()]
    for every, most, wanted in ((2, 99, range(0, 38, 2)), (3, 4, (0, 9, 18, 27)), (40, 9, (0,))):
        dataset = BagTopic(path, COMPRESSED, every, 1, most)
        found = [image.pixels for image in dataset.images()]
        assert len(found) == len(dataset) == len(wanted)
        assert all((one == whole[at]).all() for one, at in zip(found, wanted))
    assert BagTopic(path, COMPRESSED, 2, 1).sha256 != BagTopic(path, COMPRESSED, 1, 1).sha256


def test_too_few_in_a_bag():
    path = bag('road_compressed_mcap')
    with pytest.raises(CalibrationCacheError, match='has 4 images when every 10th is taken'):
        BagTopic(path, COMPRESSED, 10)
    with pytest.raises(CalibrationCacheError, match='has 5 images, expected at least 16'):
        BagTopic(bag('road_raw_sqlite3'), RAW)


def test_a_topic_that_is_not_there():
    with pytest.raises(CalibrationCacheError) as caught:
        BagTopic(bag('road_compressed_mcap'), RAW)
    assert f'its image topics are {COMPRESSED}' in str(caught.value)


def test_files_that_are_no_bag(tmp_path):
    pytest.importorskip('rosbags', reason='rosbags is not installed; run: make env')
    (tmp_path / 'x.mcap').write_bytes(b'hello')
    for path in (tmp_path, tmp_path / 'x.mcap', tmp_path / 'missing'):
        with pytest.raises(CalibrationCacheError, match='cannot be read as a rosbag'):
            BagTopic(path, COMPRESSED)


def test_a_message_that_is_damaged(tmp_path):
    highlevel = pytest.importorskip('rosbags.rosbag2', reason='rosbags is not installed')
    from rosbags.typesys import get_typestore
    from rosbags.typesys import Stores
    store = get_typestore(Stores.ROS2_HUMBLE)
    with highlevel.Writer(tmp_path / 'bag', version=9) as writer:
        kind = 'sensor_msgs/msg/CompressedImage'
        connection = writer.add_connection('/i', kind, typestore=store)
        writer.write(connection, 1, b'\x00\x01\x00\x00' + bytes(9))
    images = BagTopic(tmp_path / 'bag', '/i', minimum=1).images()
    with pytest.raises(CalibrationCacheError, match='image 1 of /i in .*the message is damaged'):
        next(images)


def test_a_bag_that_was_cut_off(tmp_path):
    source = next(bag('road_compressed_mcap').glob('*.mcap'))
    (tmp_path / 'x.mcap').write_bytes(source.read_bytes()[:300_000])
    with pytest.raises(CalibrationCacheError, match='cannot be read as a rosbag'):
        BagTopic(tmp_path / 'x.mcap', COMPRESSED)


# Into the network -----------------------------------------------------------------------------


def contract(name, **preprocess):
    path = SHARED / 'models' / name
    if not path.is_file():
        pytest.skip(f'../shared/models/{name} is not here')
    source = read_onnx_source(path)
    handle = EngineHandle(path.stem, source.inputs, source.outputs, source.metadata)
    return resolve_contract(handle, ModelConfig(
        name='m', path=str(path), preprocess=PreprocessConfig(**preprocess)))


def test_feeds_are_what_the_node_feeds(folder):
    found = contract('yolox_nano.onnx', anchor='top_left', color_order='bgr', scale=1.0)
    dataset = PictureFolder(folder, 1)
    feeds = list(calibration_feeds(dataset, found))
    preprocessor = Preprocessor(found.spec)
    wanted = np.zeros(preprocessor.shape, np.float32)
    assert len(feeds) == 5
    for image, feed in zip(dataset.images(), feeds):
        preprocessor(image, wanted)
        assert list(feed) == ['images'] and (feed['images'] == wanted).all()


def test_other_inputs_are_filled_by_the_decoder(folder):
    found = contract('deimv2_hgnetv2_atto_coco.onnx', resize='stretch')
    feed = next(calibration_feeds(PictureFolder(folder, 1), found))
    assert feed['images'].shape == (1, 3, 320, 320)
    assert feed['orig_target_sizes'].dtype == np.int64
    assert feed['orig_target_sizes'].tolist() == [[8, 6]]


def test_images_are_read_when_their_turn_comes(folder):
    found = contract('yolox_nano.onnx', anchor='top_left')
    feeds = calibration_feeds(PictureFolder(folder, 1), found)
    next(feeds)
    (folder / '1.png').unlink()
    with pytest.raises(CalibrationCacheError, match='1.png'):
        next(feeds)
