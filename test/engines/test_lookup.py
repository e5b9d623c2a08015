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

"""The engine of this machine is found by its name, or the command that builds it is told."""

from pathlib import Path

from c7_inference_ros.engines.lookup import find_engine
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
import pytest

ORIN = HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'Jetson AGX Orin')
H100 = HostTuple('90', 'x86', 'tensorrt', '10.13.3.9', 'NVIDIA H100')
NAME = 'yolox_nano__sm87_jp36.4.3_trt10.3.0_fp16.engine'


def look(folder, host=ORIN, precision=PrecisionMode.FP16, model='models/YOLOX-nano.onnx'):
    return find_engine(Path(model), folder, host, precision, 'models.detector.path')


def test_one_yaml_finds_the_engine_of_each_machine(tmp_path):
    other = 'yolox_nano__sm90_jpx86_trt10.13.3.9_fp16.engine'
    for name in (NAME, other):
        (tmp_path / name).touch()
    assert look(tmp_path) == tmp_path / NAME
    assert look(tmp_path, H100) == tmp_path / other


@pytest.mark.parametrize(('files', 'words'), [
    ([], 'which has no engine of yolox_nano'),
    (['person__sm87_jp36.4.3_trt10.3.0_fp16.engine', 'yolox_nano.onnx'],
     'which has no engine of yolox_nano'),
    (['yolox_nano__sm87_jp36.4.3_trt10.3.0_int8.engine'], '10.3.0_int8.engine, for other'),
    ([f'yolox_nano__sm{sm}_jpx86_trt10.3.0_fp16.engine' for sm in range(80, 87)],
     'and 2 more, for other machines or precisions')])
def test_what_there_is_and_how_to_build_it_is_told_in_one_line(tmp_path, files, words):
    for name in files:
        (tmp_path / name).touch()
    with pytest.raises(ConfigurationError) as caught:
        look(tmp_path)
    line, = caught.value.problems
    assert line.startswith("models.detector.path is 'models/YOLOX-nano.onnx': there is no engine "
                           f'{NAME} in {tmp_path}') and words in line
    assert line.endswith('compile_engine compile models/YOLOX-nano.onnx --precision fp16 '
                         f'--output-dir {tmp_path}')


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(ConfigurationError, match='which cannot be read: No such file'):
        look(tmp_path / 'none')
