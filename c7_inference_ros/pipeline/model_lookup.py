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

"""Which file a runtime loads for a model, and what it is told besides."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.filename import ENGINE_SUFFIX
from c7_inference_ros.engines.lookup import find_engine
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.resources import find_file
from c7_inference_ros.runtime.ort.providers import TENSORRT


def find_model(config: NodeConfig, model: ModelConfig,
               host: Callable[[NodeConfig], HostTuple]) -> Path:
    """
    Return what the runtime loads: for an ONNX model, the engine of this machine.

    :param host: finds out what this machine is; called only where an engine is looked for.
    :raises ConfigurationError: there is no such file, or no engine of it.
    :raises RuntimeNotAvailableError: what this machine is cannot be told.
    """
    full_name = f'models.{model.name}.path'
    if config.runtime != 'tensorrt' or model.path.endswith(ENGINE_SUFFIX) or not model.path:
        return find_file(model.path, full_name)
    if config.engines.directory:
        directory = Path(config.engines.directory).expanduser()
    else:
        directory = find_file(model.path, full_name).parent
    return find_engine(Path(model.path), directory, host(config),
                       PrecisionMode(model.precision), full_name)


def runtime_extras(config: NodeConfig, model: ModelConfig) -> dict[str, str]:
    """Return what the runtime has to know of a model besides its file."""
    builds = config.runtime == 'onnx_trt_ep' and TENSORRT in config.execution_providers
    return {'precision': model.precision} if builds else {}
