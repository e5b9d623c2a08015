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

"""Reading the parameter file of the node without ROS."""

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.node_parameters import load_parameter_file
import pytest

FILE = """
/**:
  ros__parameters:
    use_sim_time: true
    qos_overrides:
      /camera/image_raw:
        subscription: {reliability: reliable}
    models:
      detector: {path: model.onnx}
"""


def test_what_ros_declares_itself_is_no_mistake(tmp_path):
    path = tmp_path / 'node.yaml'
    path.write_text(FILE)
    assert load_parameter_file(path).models['detector'].path == 'model.onnx'


@pytest.mark.parametrize('name', ['use_simtime', 'qos_override.x'])
def test_what_only_looks_like_it_is_refused(tmp_path, name):
    path = tmp_path / 'node.yaml'
    path.write_text(f'{FILE}    {name}: 1\n')
    with pytest.raises(ConfigurationError) as caught:
        load_parameter_file(path)
    assert str(caught.value).startswith(f'{path}: unknown parameter {name}')
