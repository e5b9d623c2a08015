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

"""The text of TensorRT's calibrator, read strictly."""

from c7_inference_ros.engines.calibration.calibration_table import parse_table
from c7_inference_ros.engines.calibration.calibration_table import version_number
from c7_inference_ros.errors import CalibrationCacheError
import pytest

HEAD = b'TRT-100300-EntropyCalibration2\n'
GOOD = HEAD + (b'images: 3f800000\n(Unnamed Layer* 1) [Convolution]_output: 4000890a\n'
               b'scope:0: 3a83126f\n')


def test_scales_by_name():
    table = parse_table(GOOD, '10.3.0.26', ('images',))
    assert table.version == 100300
    assert dict(table.scales) == pytest.approx({
        'images': 1.0, '(Unnamed Layer* 1) [Convolution]_output': 2.00836, 'scope:0': 0.001},
        rel=1e-5)


@pytest.mark.parametrize('version, number', [
    ('10.3.0', 100300), ('10.13.3.9', 101303), ('8.6.1', 8601), ('8.5.10', 8510)])
def test_numbers_of_versions(version, number):
    assert version_number(version) == number


@pytest.mark.parametrize('data, why', [
    (b'', "begins with ''"), (b'\n', "begins with ''"), (b'hello', 'expected TRT-'),
    (GOOD.replace(b'2\n', b'3\n', 1), 'algorithm EntropyCalibration3'),
    (GOOD.replace(b'Entropy', b'MinMax'), 'algorithm MinMaxCalibration2'),
    (GOOD.replace(b'100300', b'8600'), 'from TensorRT 8600, expected 100300'),
    (HEAD, 'no scale of images'),
    (GOOD.replace(b'images', b'image'), 'no scale of images'),
    (GOOD + b'x\n', "line 5 is 'x'"), (GOOD + b'x: 3f80000\n', 'line 5'),
    (GOOD + b'x: 3f8000000\n', 'line 5'), (GOOD + b'x: 3G800000\n', 'line 5'),
    (GOOD + b': 3f800000\n', 'line 5'), (GOOD + b'\n', 'line 5'),
    (GOOD + b'x: 00000000\n', 'the scale of x is 0.0'),
    (GOOD + b'x: bf800000\n', 'the scale of x is -1.0'),
    (GOOD + b'x: 7f800000\n', 'the scale of x is inf'),
    (GOOD + b'x: 7fc00000\n', 'the scale of x is nan'),
    (GOOD + b'images: 3f800000\n', 'images is there twice'), (HEAD + b'\xff\xfe', 'is no text')])
def test_malformed(data, why):
    with pytest.raises(CalibrationCacheError) as caught:
        parse_table(data, '10.3.0', ('images',))
    assert why in str(caught.value) and 'delete the cache' in str(caught.value)
