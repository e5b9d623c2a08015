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

"""Which engine of a folder is the one of a model on this machine, so that one YAML fits all."""

from __future__ import annotations

from pathlib import Path
import shlex

from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.filename import ENGINE_SUFFIX
from c7_inference_ros.engines.filename import model_slug
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError

_SHOWN = 5


def find_engine(model: Path, directory: Path, host: HostTuple, precision: PrecisionMode,
                full_name: str) -> Path:
    """
    Return the engine of a model for a host; the gate decides whether it is trusted.

    :param model: the ONNX model; need not be on this machine.
    :param directory: folder of the engines.
    :param host: this machine.
    :param precision: of the engine.
    :param full_name: full name of the parameter that names the model, for the message.
    :raises ConfigurationError: there is none; says which there are, and how to build it.
    """
    name = engine_name(model_slug(model.stem), host, precision).build()
    path = directory / name
    if path.exists():
        return path
    others = _others(directory, model_slug(model.stem))
    command = (f'ros2 run c7_inference_ros compile_engine compile {shlex.quote(str(model))} '
               f'--precision {precision.value} --output-dir {shlex.quote(str(directory))}')
    raise ConfigurationError(
        f'{full_name} is {str(model)!r}: there is no engine {name} in {directory} ({others}); '
        f'engines are not built by the node: {command}')


def _others(directory: Path, model: str) -> str:
    try:
        names = sorted(entry.name for entry in directory.iterdir()
                       if entry.name.startswith(f'{model}__')
                       and entry.name.endswith(ENGINE_SUFFIX))
    except OSError as error:
        return f'which cannot be read: {error.strerror}'
    if not names:
        return f'which has no engine of {model}'
    more = f' and {len(names) - _SHOWN} more' if len(names) > _SHOWN else ''
    return f'which has {", ".join(names[:_SHOWN])}{more}, for other machines or precisions'
