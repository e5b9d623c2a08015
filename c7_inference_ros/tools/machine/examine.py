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

"""Looks at a machine once; everything about it that needs no parameter file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Iterable
from typing import Mapping

from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.engines.host import probe_facts
from c7_inference_ros.parameter_groups import ThermalConfig
from c7_inference_ros.runtime.ort.providers import CPU
from c7_inference_ros.thermal.state import ThermalState
from c7_inference_ros.tools.machine.board import Board
from c7_inference_ros.tools.machine.board import board_findings
from c7_inference_ros.tools.machine.board import look_at_board
from c7_inference_ros.tools.machine.board import remedies_for
from c7_inference_ros.tools.machine.dds_profile import profile_in_force
from c7_inference_ros.tools.machine.dds_profile import read_profile
from c7_inference_ros.tools.machine.dds_profile import shipped_path
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.gpu import Gpu
from c7_inference_ros.tools.machine.gpu import gpu_findings
from c7_inference_ros.tools.machine.gpu import look_at_gpu
from c7_inference_ros.tools.machine.heat import heat_findings
from c7_inference_ros.tools.machine.heat import read_heat
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.ros import look_at_ros
from c7_inference_ros.tools.machine.ros import ros_findings
from c7_inference_ros.tools.machine.software import ask_providers
from c7_inference_ros.tools.machine.software import software_findings
from c7_inference_ros.tools.machine.surroundings import Surroundings
from c7_inference_ros.tools.machine.transport import transport_findings

#: What the node imports whatever it runs.
ALWAYS_NEEDED = ('numpy', 'cv2')


@dataclass(frozen=True)
class Machine:
    """
    What is known of a machine.

    :param around: where it was looked at.
    :param facts: what engines are tied to.
    :param libraries: what each said, by module.
    :param providers: what became of each execution provider of ONNX Runtime, by name.
    :param thermal: its heat.
    :param findings: the lines of the report.
    """

    around: Surroundings
    facts: HostFacts
    board: Board
    gpu: Gpu
    remedies: Remedies
    libraries: Mapping[str, Library]
    providers: Mapping[str, Library]
    thermal: ThermalState
    findings: tuple[Finding, ...]


def examine(around: Surroundings, libraries: Mapping[str, Library], needed: Iterable[str],
            wanted_providers: Iterable[str] = (), device: int = 0,
            thermal: ThermalConfig | None = None) -> Machine:
    """
    Look at a machine.

    :param libraries: of :func:`c7_inference_ros.tools.machine.libraries.ask_libraries`.
    :param needed: modules without which the node does not start, beside those it always needs.
    :param wanted_providers: execution providers of a configuration.
    :param device: number of the GPU.
    :param thermal: where heat is read, and the margins it is judged by; the defaults when None.
    """
    facts = probe_facts(root=around.root, run=around.run, device=device, environ=around.environ)
    board = look_at_board(around, facts)
    gpu = look_at_gpu(around, board, facts, device)
    remedies = remedies_for(around, board)
    available = [str(name) for name in libraries['onnxruntime'].values.get('available', ())]
    providers = ask_providers(around, [name for name in (*available, *wanted_providers)
                                       if name in available and name != CPU], device)
    ros = look_at_ros(around, libraries['rclpy'])
    profile = profile_in_force(around, ros.distribution)
    if profile is None or profile.problem:
        profile = read_profile(shipped_path())
    thermal = thermal or ThermalConfig()
    sysfs_root = thermal.sysfs_root
    if sysfs_root == '/sys':
        sysfs_root = str(around.root / 'sys')
    state, reason = read_heat(sysfs_root)
    findings = [
        *board_findings(around, board, facts), *gpu_findings(around, board, facts, gpu, remedies),
        *software_findings(around, libraries, providers, facts, gpu,
                           (*ALWAYS_NEEDED, *needed), remedies),
        *ros_findings(around, board, ros, remedies),
        *transport_findings(around, profile, remedies),
        *heat_findings(state, reason, sysfs_root, board, remedies, thermal)]
    return Machine(around, facts, board, gpu, remedies, libraries, providers, state,
                   tuple(findings))
