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

"""Which branch builds on this machine, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Callable

from c7_inference_ros.engines.building.builder import BRANCHES
from c7_inference_ros.engines.building.builder import DIRECT
from c7_inference_ros.engines.building.builder import EngineBuilder
from c7_inference_ros.engines.building.builder import POLYGRAPHY
from c7_inference_ros.engines.building.builder import TRTEXEC
from c7_inference_ros.engines.building.direct_builder import DirectBuilder
from c7_inference_ros.engines.building.polygraphy_builder import PolygraphyBuilder
from c7_inference_ros.engines.building.trtexec_builder import TrtexecBuilder
from c7_inference_ros.engines.building.trtexec_tool import find_tool
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.tensorrt_api import TensorrtApi
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import RuntimeNotAvailableError


@dataclass(frozen=True)
class BranchChoice:
    """
    The branch that builds.

    :param builder: the branch.
    :param reason: why this one, one sentence.
    """

    builder: EngineBuilder
    reason: str


def choose_branch(config: BuildConfig,
                  load: Callable[[str], TensorrtApi] = load_tensorrt) -> BranchChoice:
    """
    Choose the branch by what is installed.

    The direct branch is preferred: it hears the reason of every failure, reports progress, reads
    its settings back and needs nothing but the bindings. Polygraphy has nothing over it for these
    engines, so it builds when it is asked for. The tool builds where there are no bindings.

    :param config: ``package`` and ``branch`` say what was asked for; ``extras['trtexec']`` where
        the tool is, if it is in no usual place.
    :param load: imports the bindings.
    :raises RuntimeNotAvailableError: what was asked for is not here; says what to install.
    :raises ConfigurationError: no such branch.
    """
    if config.branch not in ('auto', *BRANCHES):
        raise ConfigurationError(
            f'branch {config.branch!r} does not exist; expected auto, {", ".join(BRANCHES)}')
    if config.branch == TRTEXEC:
        tool = TrtexecBuilder(find_tool(config.package, config.extras.get('trtexec')))
        return BranchChoice(tool, f'trtexec, because it was asked for ({tool.path})')
    if config.branch == POLYGRAPHY:
        polygraphy = PolygraphyBuilder(load(config.package))
        return BranchChoice(polygraphy, 'polygraphy, because it was asked for')
    try:
        api = load(config.package)
    except RuntimeNotAvailableError as missing:
        if config.branch == DIRECT:
            raise
        try:
            tool = TrtexecBuilder(find_tool(config.package, config.extras.get('trtexec')))
        except RuntimeNotAvailableError as error:
            raise RuntimeNotAvailableError(f'{missing}; nor can a tool build: {error}') from error
        return BranchChoice(
            tool, f'trtexec ({tool.path}), because the Python bindings are not installed')
    why = 'it was asked for' if config.branch == DIRECT else (
        f'the Python bindings of {api.package} {api.version} are installed')
    return BranchChoice(DirectBuilder(api), f'direct, because {why}')
