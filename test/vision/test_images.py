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

import array

from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.vision.images import is_view_encoding
from c7_inference_ros.vision.images import MAX_PIXELS
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.images import to_bgr
from c7_inference_ros.vision.images import VIEW_ENCODINGS
from c7_inference_ros.vision.images import view_image
import cv2
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

CHANNELS = {'bgr8': 3, 'rgb8': 3, 'mono8': 1, 'bgra8': 4, 'rgba8': 4}
CARRIERS = {'bytes': bytes, 'array': lambda data: array.array('B', data), 'memoryview': memoryview,
            'bytearray': bytearray, 'ndarray': lambda data: np.frombuffer(data, np.uint8)}


def message_data(height, width, channels, step, seed=0):
    """Return rows of random pixels with other bytes between them, and the pixels."""
    rows = np.random.default_rng(seed).integers(0, 256, (height, step), np.uint8)
    pixels = rows[:, :width * channels].reshape(height, width, channels)
    return rows.tobytes(), pixels[..., 0] if channels == 1 else pixels


@pytest.mark.parametrize('encoding', VIEW_ENCODINGS)
@pytest.mark.parametrize('carrier', CARRIERS)
@pytest.mark.parametrize('height, width, extra', [(4, 5, 0), (4, 5, 7), (1, 5, 3), (6, 1, 11)])
def test_view_is_the_pixels_without_a_copy(encoding, carrier, height, width, extra):
    step = width * CHANNELS[encoding] + extra
    raw, pixels = message_data(height, width, CHANNELS[encoding], step)
    data = CARRIERS[carrier](raw)
    image = view_image(data, height, width, encoding, step)
    assert (image.height, image.width, image.encoding) == (height, width, encoding)
    np.testing.assert_array_equal(image.pixels, pixels)
    assert np.may_share_memory(image.pixels, np.frombuffer(data, np.uint8))


def test_view_follows_the_data_of_the_message():
    data = array.array('B', bytes(12))
    image = view_image(data, 2, 2, 'bgr8', 6)
    data[3] = 77
    assert image.pixels[0, 1, 0] == 77


@pytest.mark.parametrize('alias, name, channels', [
    ('8UC1', 'mono8', 1), ('8UC3', 'bgr8', 3), ('8UC4', 'bgra8', 4)])
def test_opencv_names_are_aliases(alias, name, channels):
    assert view_image(bytes(6 * channels), 2, 3, alias, 3 * channels).encoding == name
    assert is_view_encoding(alias) and is_view_encoding(name)


@pytest.mark.parametrize('encoding', [
    '', 'yuv422_yuy2', 'bayer_rggb8', 'mono16', '32FC1', 'x' * 999])
def test_other_encodings_are_refused_with_what_is_read(encoding):
    assert not is_view_encoding(encoding)
    with pytest.raises(UnsupportedEncodingError, match='expected one of bgr8, rgb8') as caught:
        view_image(bytes(12), 2, 2, encoding, 6)
    assert repr(encoding[:40]) in str(caught.value) and len(str(caught.value)) < 250


@pytest.mark.parametrize('data, height, width, step, parts', [
    (bytes(12), 0, 2, 6, ['2x0', 'at least 1x1']),
    (bytes(0), 2, 0, 0, ['0x2', 'at least 1x1']),
    (bytes(0), 0, 0, 0, ['0x0']),
    (bytes(12), -2, 2, 6, ['2x-2']),
    (bytes(12), 2, 2, 5, ['step of 5', 'at least 6']),
    (bytes(12), 2, 2, 0, ['step of 0', 'at least 6']),
    (bytes(11), 2, 2, 6, ['11 bytes', 'expected 12']),
    (bytes(13), 2, 2, 6, ['13 bytes', 'expected 12']),
    (bytes(0), 2, 2, 6, ['0 bytes', 'expected 12']),
    (bytes(12), 8000, 8001, 24003, ['8001x8000', f'at most {MAX_PIXELS}']),
    (bytes(12), 2 ** 32 - 1, 2 ** 32 - 1, 2 ** 32 - 1, ['at most']),
    ([0] * 12, 2, 2, 6, ['list', 'expected bytes']),
    (None, 2, 2, 6, ['NoneType']),
    ('123456789012', 2, 2, 6, ['str']),
])
def test_data_that_do_not_agree_are_refused_in_one_line(data, height, width, step, parts):
    with pytest.raises(MalformedImageError) as caught:
        view_image(data, height, width, 'bgr8', step)
    message = str(caught.value)
    assert '\n' not in message and all(part in message for part in parts)


def test_largest_image_is_read():
    assert 8000 * 8000 == MAX_PIXELS
    image = view_image(np.zeros(MAX_PIXELS, np.uint8), 8000, 8000, 'mono8', 8000)
    assert (image.height, image.width) == (8000, 8000)


@settings(deadline=None, max_examples=400)
@given(st.binary(max_size=200), st.integers(-2, 2 ** 32 - 1) | st.integers(0, 12),
       st.integers(-2, 2 ** 32 - 1) | st.integers(0, 12),
       st.sampled_from([*VIEW_ENCODINGS, '8UC3', 'mono16']) | st.text(max_size=5),
       st.integers(-2, 2 ** 32 - 1) | st.integers(0, 40))
def test_any_message_gives_its_pixels_or_one_line(data, height, width, encoding, step):
    try:
        image = view_image(data, height, width, encoding, step)
    except (MalformedImageError, UnsupportedEncodingError) as error:
        assert '\n' not in str(error) and str(error)
    else:
        assert image.pixels.shape[:2] == (height, width)
        assert len(data) == step * height >= image.pixels.size


@pytest.mark.parametrize('encoding, code', [
    ('rgb8', cv2.COLOR_RGB2BGR), ('rgba8', cv2.COLOR_RGBA2BGR), ('bgra8', cv2.COLOR_BGRA2BGR),
    ('mono8', cv2.COLOR_GRAY2BGR)])
def test_to_bgr_of_strided_pixels(encoding, code):
    step = 7 * CHANNELS[encoding] + 5
    raw, pixels = message_data(6, 7, CHANNELS[encoding], step)
    image = view_image(raw, 6, 7, encoding, step)
    np.testing.assert_array_equal(to_bgr(image), cv2.cvtColor(np.ascontiguousarray(pixels), code))


def test_to_bgr_of_bgr_is_no_copy():
    pixels = np.zeros((2, 3, 3), np.uint8)
    assert to_bgr(SourceImage(pixels, 'bgr8')) is pixels
