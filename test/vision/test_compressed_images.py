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
from pathlib import Path
import struct
import zlib

from c7_inference_ros.errors import MalformedImageError
from c7_inference_ros.errors import UnsupportedEncodingError
from c7_inference_ros.vision.images import decode_compressed
import cv2
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

PICTURES = Path(__file__).resolve().parents[3] / 'shared' / 'data' / 'coco_val_subset' / 'images'
TRUNCATIONS = [f'{percent}%' for percent in range(0, 100, 5)]


def picture(height=48, width=64, channels=3):
    """Return a picture with a gradient and an edge, which JPEG keeps nearly as it is."""
    rows, columns = np.mgrid[:height, :width]
    value = (rows * 2 + columns * 2) % 200 + (columns > width // 2) * 40
    value = np.clip(value, 0, 255).astype(np.uint8)
    planes = [value, 255 - value, value // 2, value]
    return value if channels == 1 else np.dstack(planes[:channels])


def encoded(kind, pixels, *options):
    done, data = cv2.imencode(kind, pixels, list(options))
    assert done
    return data.tobytes()


def refusal(data, expected=MalformedImageError) -> str:
    with pytest.raises(expected) as caught:
        decode_compressed(data)
    assert type(caught.value) is expected
    assert '\n' not in str(caught.value)
    return str(caught.value)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack('>I', len(content)) + kind + content + struct.pack(
        '>I', zlib.crc32(kind + content))


def png(width, height, content=b'', depth=8, color=0):
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', width, height, depth,
                                                              color, 0, 0, 0))
            + chunk(b'IDAT', zlib.compress(content)) + chunk(b'IEND', b''))


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    at = data.index(b'\xff\xc0')
    return data[:at + 5] + struct.pack('>HH', height, width) + data[at + 9:]


JPEG = encoded('.jpg', picture(), cv2.IMWRITE_JPEG_QUALITY, 90)
PROGRESSIVE = encoded('.jpg', picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
RESTARTS = encoded('.jpg', picture(), cv2.IMWRITE_JPEG_RST_INTERVAL, 2)
PNG = encoded('.png', picture())
FILES = {'jpeg': JPEG, 'progressive': PROGRESSIVE, 'restarts': RESTARTS, 'png': PNG}


@pytest.mark.parametrize('make', [
    bytes, bytearray, memoryview, lambda data: array.array('B', data),
    lambda data: np.frombuffer(data, np.uint8)])
def test_png_is_exact_from_any_buffer(make):
    image = decode_compressed(make(PNG))
    assert image.encoding == 'bgr8'
    np.testing.assert_array_equal(image.pixels, picture())


@pytest.mark.parametrize('name', ['jpeg', 'progressive', 'restarts'])
def test_jpeg_is_what_opencv_decodes(name):
    image = decode_compressed(FILES[name])
    assert image.encoding == 'bgr8'
    np.testing.assert_array_equal(
        image.pixels, cv2.imdecode(np.frombuffer(FILES[name], np.uint8), cv2.IMREAD_COLOR))
    assert np.abs(image.pixels.astype(int) - picture()).mean() < 8


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
def test_grey_stays_mono8(kind):
    image = decode_compressed(encoded(kind, picture(channels=1)))
    assert (image.encoding, image.pixels.shape) == ('mono8', (48, 64))


def test_transparency_is_dropped():
    image = decode_compressed(encoded('.png', picture(channels=4)))
    assert image.encoding == 'bgr8'
    np.testing.assert_array_equal(image.pixels, picture())


@pytest.mark.parametrize('channels', [1, 3, 4])
def test_16_bits_are_divided_by_256(channels):
    deep = picture(channels=channels).astype(np.uint16) * 256 + 255
    image = decode_compressed(encoded('.png', deep))
    assert image.encoding == ('mono8' if channels == 1 else 'bgr8')
    np.testing.assert_array_equal(image.pixels, picture(channels=min(channels, 3)))


def test_orientation_is_not_applied():
    exif = (b'Exif\0\0' + b'MM\0*\0\0\0\x08' + b'\0\x01' + b'\x01\x12\0\x03\0\0\0\x01\0\x06\0\0'
            + b'\0\0\0\0')
    rotated = JPEG[:2] + b'\xff\xe1' + struct.pack('>H', len(exif) + 2) + exif + JPEG[2:]
    assert cv2.imdecode(np.frombuffer(rotated, np.uint8), cv2.IMREAD_COLOR).shape == (64, 48, 3)
    assert decode_compressed(rotated).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize('name', FILES)
@pytest.mark.parametrize('length', TRUNCATIONS)
def test_cut_off_is_refused_everywhere(name, length):
    data = FILES[name]
    refused = refusal(data[:len(data) * int(length[:-1]) // 100])
    assert 'cut off' in refused or 'has no data' in refused


@pytest.mark.parametrize('name', FILES)
def test_cut_off_by_any_number_of_bytes(name):
    for length in range(len(FILES[name])):
        refusal(FILES[name][:length])


def test_cut_off_behind_an_embedded_preview():
    # A camera's JPEG holds a whole smaller one, with an end marker of its own.
    preview = encoded('.jpg', picture(8, 8))
    data = JPEG[:2] + b'\xff\xe1' + struct.pack('>H', len(preview) + 2) + preview + JPEG[2:]
    assert decode_compressed(data).pixels.shape == (48, 64, 3)
    assert 'cut off' in refusal(data[:len(data) // 2])
    assert 'cut off' in refusal(data[:4 + 2 + len(preview)])


@pytest.mark.skipif(not PICTURES.is_dir(), reason='../shared/data/coco_val_subset is absent')
def test_cut_off_photographs():
    for path in sorted(PICTURES.glob('*.jpg')):
        data = path.read_bytes()
        for percent in range(5, 100, 5):
            assert 'cut off' in refusal(data[:len(data) * percent // 100])
        assert decode_compressed(data).encoding in ('bgr8', 'mono8')


@pytest.mark.parametrize('padding', [b'\0' * 64, b'\n', b'\xff\xd8 more'])
@pytest.mark.parametrize('name', FILES)
def test_bytes_after_the_end_do_not_matter(name, padding):
    assert decode_compressed(FILES[name] + padding).pixels.shape == (48, 64, 3)


@pytest.mark.parametrize('size, part', [
    ((8000, 8001), 'at most 64000000 pixels'), ((65500, 65500), 'at most'), ((0, 8), '0x8'),
    ((8, 0), '8x0')])
def test_size_is_checked_before_decoding(monkeypatch, size, part):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    assert part in refusal(png(*size))
    assert part in refusal(with_jpeg_size(JPEG, *size))


def test_bomb_of_zeros_is_refused():
    assert '100000x100000' in refusal(png(100_000, 100_000, bytes(1 << 20)))
    assert 'at most' in refusal(png(2 ** 31 - 1, 2 ** 31 - 1))


def test_8000_by_8000_is_decoded():
    image = decode_compressed(png(8000, 8000, bytes(8001 * 8000)))
    assert (image.encoding, image.pixels.shape) == ('mono8', (8000, 8000))


def test_png_with_changed_bytes_is_refused():
    data = bytearray(PNG)
    data[len(data) // 2] ^= 0x10
    assert 'wrong checksum' in refusal(bytes(data))


def test_png_with_too_few_pixels_is_refused():
    refusal(png(64, 48, bytes(65 * 20)))


def test_jpeg_without_a_picture_is_refused():
    assert 'without a picture' in refusal(b'\xff\xd8\xff\xfe\x00\x04ab\xff\xd9')
    assert '0x62' in refusal(b'\xff\xd8\xff\xfe\x00\x03abc\xff\xd9')


@pytest.mark.parametrize('data, part', [
    (encoded('.bmp', picture()), 'BMP'), (encoded('.webp', picture()), 'WebP'),
    (b'GIF89a' + bytes(20), 'GIF'), (b'\0\0\0\x01\x67\x42', 'H.264'),
    (b'hello world', '68656c6c')])
def test_other_formats_are_named(data, part):
    message = refusal(data, UnsupportedEncodingError)
    assert part in message and 'expected JPEG' in message


@pytest.mark.parametrize('data', [None, 'text', [1, 2, 3], 3.5])
def test_no_bytes(data):
    assert 'expected bytes' in refusal(data)


@settings(deadline=None, max_examples=400)
@given(st.sampled_from([
    b'', b'\xff\xd8\xff', b'\xff\xd8\xff\xc0\x00\x0b\x08', b'\x89PNG\r\n\x1a\n',
    b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR']), st.binary(max_size=300))
def test_random_bytes_are_refused(start, rest):
    with pytest.raises((MalformedImageError, UnsupportedEncodingError)) as caught:
        decode_compressed(start + rest)
    assert '\n' not in str(caught.value)


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(sorted(FILES)), st.lists(st.tuples(
    st.integers(0, 10 ** 6), st.integers(0, 255)), min_size=1, max_size=6))
def test_changed_bytes_give_a_picture_of_the_header_size_or_one_line(name, changes):
    data = bytearray(FILES[name])
    for position, value in changes:
        data[position % len(data)] = value
    try:
        image = decode_compressed(bytes(data))
    except (MalformedImageError, UnsupportedEncodingError) as error:
        assert '\n' not in str(error)
    else:
        assert image.pixels.dtype == np.uint8
        assert image.encoding == ('mono8' if image.pixels.ndim == 2 else 'bgr8')
