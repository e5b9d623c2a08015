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

"""What tells whether a bag was already replayed, with the same models and the same parameters."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.pipeline.model_lookup import find_model
from c7_inference_ros.resources import find_file
from c7_inference_ros.tools.replaying.outputs import INPUTS
from c7_inference_ros.tools.replaying.outputs import LINES
from c7_inference_ros.tools.replaying.outputs import MARKER
from c7_inference_ros.tools.replaying.outputs import OutputFolder
from c7_inference_ros.tools.replaying.outputs import REPORT
from c7_inference_ros.tools.replaying.report import file_sha256
from c7_inference_ros.tools.replaying.report import parameter_values


def inputs_of_run(config: NodeConfig, options: Sequence[str], files: Sequence[Path]
                  ) -> dict[str, Any]:
    """
    Return what the results of every bag of a run depend on, beside the bag.

    :param config: of the node.
    :param options: of the command line, but for paths of bags and of the output.
    :param files: that options name.
    :raises ConfigurationError: a model or file cannot be read.
    """
    models = {}
    for name, model in config.models.items():
        paths = [find_model(config, model, lambda config: probe_host(
            config.engines.package, device=config.engines.device))]
        if model.labels:
            paths.append(find_file(model.labels, f'models.{name}.labels'))
        models[name] = [path_sha256(path) for path in paths]
    return {'parameters': _sha256(parameter_values(config)), 'options': list(options),
            'models': models, 'files': [path_sha256(path) for path in files]}


def path_sha256(path: Path) -> str:
    """
    Return the hash of a file, or of a folder with all its files and their names.

    :raises ConfigurationError: something cannot be read.
    """
    try:
        if not path.is_dir():
            return file_sha256(path)
        files = sorted(one for one in path.rglob('*') if one.is_file())
        return _sha256([[one.relative_to(path).as_posix(), file_sha256(one)] for one in files])
    except OSError as error:
        raise ConfigurationError(f'{error.filename or path} cannot be read ({error.strerror})'
                                 ) from error


def remember(folder: Path, inputs: Mapping[str, Any]) -> None:
    """
    Keep beside a finished report what it was made of.

    :raises ReplayOutputError: it cannot be written.
    """
    OutputFolder(folder).write(INPUTS, (json.dumps(inputs, indent=2) + '\n').encode())


def earlier_report(folder: Path, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
    """
    Return the report of an earlier replay of the same, or None when there is no whole one.

    :param folder: of the results of one bag.
    :param inputs: what it would be made of now.
    """
    if (folder / MARKER).exists() or not (folder / LINES).is_file():
        return None
    try:
        if json.loads((folder / INPUTS).read_bytes()) != inputs:
            return None
        report = json.loads((folder / REPORT).read_bytes())
    except (OSError, ValueError):
        return None
    is_whole = isinstance(report, dict) and {'counts', 'exit_code'} <= set(report)
    return report if is_whole else None


def _sha256(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
