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

from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.images import VIEW_ENCODINGS
from c7_inference_ros.vision.images import view_image
from c7_inference_ros.vision.letterbox import letterbox_geometry
from c7_inference_ros.vision.letterbox import stretch_geometry
from c7_inference_ros.vision.preprocess import Preprocessor
from c7_inference_ros.vision.preprocess import PreprocessSpec
import cv2
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
import numpy as np
import pytest

CHANNELS = {'bgr8': 3, 'rgb8': 3, 'mono8': 1, 'bgra8': 4, 'rgba8': 4}
IMAGENET = {'scale': 1 / 255, 'mean': (0.485, 0.456, 0.406), 'std': (0.229, 0.224, 0.225)}
RAW = {'scale': 1.0, 'mean': (0.0, 0.0, 0.0), 'std': (1.0, 1.0, 1.0)}


def spec_of(**changes) -> PreprocessSpec:
    values = {'resize': 'letterbox', 'anchor': 'center', 'interpolation': 'linear',
              'pad_value': 114, 'color_order': 'rgb', 'layout': 'nchw', 'dtype': 'float32',
              'width': 64, 'height': 48, **IMAGENET, **changes}
    values['dtype'] = np.dtype(values['dtype'])
    return PreprocessSpec(**values)


def image_of(height, width, encoding='bgr8', extra=0, seed=0) -> SourceImage:
    step = width * CHANNELS[encoding] + extra
    data = np.random.default_rng(seed).integers(0, 256, height * step, np.uint8)
    return view_image(data.tobytes(), height, width, encoding, step)


def reference(image: SourceImage, spec: PreprocessSpec) -> np.ndarray:
    """Do the same slowly: to colour, resize, pad, normalise in float64, transpose."""
    pixels = np.ascontiguousarray(image.pixels)
    if pixels.ndim == 2:
        pixels = np.dstack([pixels] * 3)
    pixels = pixels[..., :3] if image.encoding[:3] == 'rgb' else pixels[..., 2::-1]
    pixels = np.ascontiguousarray(pixels)
    make = stretch_geometry if spec.resize == 'stretch' else letterbox_geometry
    anchor = () if spec.resize == 'stretch' else (spec.anchor,)
    geometry = make((image.width, image.height), (spec.width, spec.height), *anchor)
    shrinks = geometry.picture_width <= image.width and geometry.picture_height <= image.height
    method = (cv2.INTER_AREA if spec.interpolation == 'area' and shrinks
              else cv2.INTER_LINEAR)
    small = cv2.resize(pixels, (geometry.picture_width, geometry.picture_height),
                       interpolation=method)
    if spec.channels == 1:
        small = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)[..., None]
    elif spec.color_order == 'bgr':
        small = small[..., ::-1]
    canvas = np.full((spec.height, spec.width, spec.channels), spec.pad_value, np.uint8)
    top, left = int(geometry.pad_y), int(geometry.pad_x)
    canvas[top:top + small.shape[0], left:left + small.shape[1]] = small
    values = (canvas * np.float64(spec.scale) - np.array(spec.mean)[:spec.channels]) / np.array(
        spec.std)[:spec.channels]
    values = values.astype(spec.dtype)[None]
    return values if spec.layout == 'nhwc' else values.transpose(0, 3, 1, 2)


def run(image, spec, preprocessor=None):
    preprocessor = preprocessor or Preprocessor(spec)
    if spec.dtype == np.uint8:
        out = np.full(preprocessor.shape, 251, np.uint8)
    else:
        out = np.full(preprocessor.shape, np.nan, spec.dtype)
    geometry = preprocessor(image, out)
    return out, geometry


@pytest.mark.parametrize('encoding', VIEW_ENCODINGS)
@pytest.mark.parametrize('color_order', ['rgb', 'bgr'])
@pytest.mark.parametrize('layout', ['nchw', 'nhwc'])
@pytest.mark.parametrize('dtype, values', [
    ('float32', IMAGENET), ('float32', RAW), ('float16', IMAGENET), ('float16', RAW),
    ('uint8', RAW)])
@pytest.mark.parametrize('channels', [3, 1])
def test_every_combination_agrees_with_the_slow_way(encoding, color_order, layout, dtype, values,
                                                    channels):
    spec = spec_of(color_order=color_order, layout=layout, dtype=dtype, channels=channels,
                   **values)
    image = image_of(90, 70, encoding, extra=13)
    out, _ = run(image, spec)
    expected = reference(image, spec)
    if channels == 1 and encoding == 'mono8':
        # The reference goes through colour, whose weights may be off by one.
        step = (values['scale'] / values['std'][0]) * 1.01
        np.testing.assert_allclose(out.astype(float), expected.astype(float), atol=step)
    else:
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize('resize, anchor', [
    ('letterbox', 'center'), ('letterbox', 'top_left'), ('stretch', 'center')])
@pytest.mark.parametrize('height, width', [
    (48, 64), (480, 640), (30, 20), (1, 300), (300, 1), (1, 1), (47, 64), (48, 63), (2000, 3)])
@pytest.mark.parametrize('layout, interpolation', [
    ('nchw', 'linear'), ('nhwc', 'linear'), ('nchw', 'area')])
def test_every_size_agrees_with_the_slow_way(resize, anchor, height, width, layout,
                                             interpolation):
    spec = spec_of(resize=resize, anchor=anchor, layout=layout, interpolation=interpolation)
    image = image_of(height, width)
    out, geometry = run(image, spec)
    np.testing.assert_array_equal(out, reference(image, spec))
    assert (geometry.source_width, geometry.source_height) == (width, height)
    assert (geometry.network_width, geometry.network_height) == (64, 48)


def test_padding_is_the_network_value_of_the_pad_value():
    out, geometry = run(image_of(10, 100), spec_of(pad_value=200))
    assert (geometry.pad_x, geometry.picture_width) == (0, 64)
    for channel in range(3):
        expected = (200 / 255 - IMAGENET['mean'][channel]) / IMAGENET['std'][channel]
        assert (out[0, channel, :int(geometry.pad_y)] == np.float32(expected)).all()
        assert (out[0, channel, int(geometry.pad_y) + geometry.picture_height:]
                == np.float32(expected)).all()


def test_color_goes_where_the_model_wants_it():
    red = SourceImage(np.full((48, 64, 3), (10, 20, 200), np.uint8), 'bgr8')
    for color_order, expected in (('rgb', [200, 20, 10]), ('bgr', [10, 20, 200])):
        out, _ = run(red, spec_of(color_order=color_order, **RAW))
        assert out[0, :, 24, 32].tolist() == expected


def test_area_averages_every_pixel_when_shrinking_and_is_linear_when_enlarging():
    stripes = SourceImage(np.zeros((480, 640), np.uint8), 'mono8')
    stripes.pixels[:, ::10] = 200  # one column of the ten that make a network column
    averaged, _ = run(stripes, spec_of(resize='stretch', interpolation='area', **RAW))
    assert (averaged == 20).all()
    sampled, _ = run(stripes, spec_of(resize='stretch', **RAW))
    assert (sampled == 0).all()
    small = image_of(20, 30)
    larger = [run(small, spec_of(interpolation=interpolation))[0]
              for interpolation in ('area', 'linear')]
    np.testing.assert_array_equal(*larger)


def test_mean_and_std_are_in_the_order_of_the_model():
    grey = SourceImage(np.full((48, 64), 100, np.uint8), 'mono8')
    out, _ = run(grey, spec_of(color_order='bgr', scale=1.0, mean=(1.0, 2.0, 3.0),
                               std=(1.0, 2.0, 4.0)))
    assert out[0, :, 24, 32].tolist() == [99.0, 49.0, 24.25]


def test_alpha_does_not_matter():
    image = image_of(90, 70, 'bgra8')
    clear = SourceImage(image.pixels.copy(), 'bgra8')
    clear.pixels[..., 3] = 0
    np.testing.assert_array_equal(run(image, spec_of())[0], run(clear, spec_of())[0])


def test_preprocessing_of_yolox():
    # As preproc() in yolox/data/data_augment.py, on which the reference accuracy rests.
    image = image_of(427, 640)
    ratio = min(416 / 427, 416 / 640)
    padded = np.full((416, 416, 3), 114, np.uint8)
    small = cv2.resize(image.pixels, (int(640 * ratio), int(427 * ratio)),
                       interpolation=cv2.INTER_LINEAR).astype(np.uint8)
    padded[:small.shape[0], :small.shape[1]] = small
    out, _ = run(image, spec_of(width=416, height=416, anchor='top_left', color_order='bgr',
                                **RAW))
    np.testing.assert_array_equal(out[0], padded.transpose(2, 0, 1).astype(np.float32))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 120), st.integers(1, 120),
                          st.sampled_from(VIEW_ENCODINGS), st.integers(0, 9)),
                min_size=2, max_size=5),
       st.sampled_from(['nchw', 'nhwc']), st.sampled_from(['center', 'top_left']),
       st.sampled_from([('float32', 'IMAGENET'), ('uint8', 'RAW'), ('float16', 'RAW')]))
def test_nothing_stays_of_an_earlier_image(frames, layout, anchor, kind):
    values = IMAGENET if kind[1] == 'IMAGENET' else RAW
    spec = spec_of(layout=layout, anchor=anchor, dtype=kind[0], **values)
    used = Preprocessor(spec)
    out = np.zeros(used.shape, spec.dtype)
    for seed, (height, width, encoding, extra) in enumerate(frames):
        image = image_of(height, width, encoding, extra, seed)
        used(image, out)
        fresh, _ = run(image, spec)
        np.testing.assert_array_equal(out, fresh)
        assert not np.isnan(out.astype(np.float32)).any()


def test_image_is_not_changed_and_may_be_read_only():
    image = image_of(48, 64)
    assert not image.pixels.flags.writeable
    before = image.pixels.copy()
    run(image, spec_of())
    np.testing.assert_array_equal(image.pixels, before)


def test_no_large_memory_is_taken_per_image():
    import tracemalloc

    for layout in ('nchw', 'nhwc'):
        spec = spec_of(width=640, height=640, layout=layout)
        preprocessor = Preprocessor(spec)
        out, image = np.empty(preprocessor.shape, np.float32), image_of(720, 1280)
        preprocessor(image, out)
        tracemalloc.start()
        try:
            preprocessor(image, out)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 64 * 1024, f'{layout} took {peak} bytes'


@pytest.mark.parametrize('out', [
    np.zeros((1, 3, 48, 63), np.float32), np.zeros((1, 3, 48, 64), np.float64),
    np.zeros((1, 3, 48, 64), np.float16), np.zeros((3, 48, 64), np.float32),
    np.zeros((1, 3, 48, 128), np.float32)[..., ::2]])
def test_another_tensor_is_refused(out):
    with pytest.raises(ValueError, match='expected float32'):
        Preprocessor(spec_of())(image_of(48, 64), out)


def test_read_only_tensor_is_refused():
    out = np.zeros((1, 3, 48, 64), np.float32)
    out.flags.writeable = False
    with pytest.raises(ValueError, match='writeable False'):
        Preprocessor(spec_of())(image_of(48, 64), out)


def test_largest_and_longest_images():
    spec = spec_of()
    for height, width in ((8000, 8000), (1, 64_000_000), (64_000_000, 1), (1, 70_000)):
        image = SourceImage(np.full((height, width), 9, np.uint8), 'mono8')
        out, geometry = run(image, spec)
        row, column = int(geometry.pad_y), int(geometry.pad_x)
        assert out[0, 0, row, column] == np.float32((9 / 255 - 0.485) / 0.229)
        assert np.isfinite(out).all()
