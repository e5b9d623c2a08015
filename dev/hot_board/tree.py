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

"""The sysfs tree of the simulated board, which the real source reads."""

from __future__ import annotations

from pathlib import Path

# Of test/thermal: the documented layout of the board, which the tests of the source use.
import board_trees
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.source import ThermalSource
from hot_board.board import BoardModel

BOARD = 'orin_agx'
GPU_ZONE, CPU_ZONE = 'gpu-thermal', 'cpu-thermal'
GPU_COOLING = 'devfreq-17000000.gpu'
#: The CPU does less of the work, and is cooler.
CPU_BELOW_GPU_K = 3.0


class OrinTree:
    """
    The file system of a Jetson AGX Orin, changed as its kernel would.

    :param root: an empty folder; stands for ``/``.
    :param model: constants of the board, which have to be those of its file system.
    :raises ValueError: they are not.
    """

    def __init__(self, root: Path, model: BoardModel) -> None:
        """Write everything once."""
        self._tree = board_trees.plant(BOARD, root)
        self.source: ThermalSource = JetsonThermalSource(self._tree.sysfs_root,
                                                         self._tree.read_bytes)
        self.write(25.0, 0)
        trips = {zone.throttle_c for zone in self.source.read(0).zones
                 if zone.name in (GPU_ZONE, CPU_ZONE)}
        states = self._tree.integer(self._tree.cooling_devices[GPU_COOLING] / 'max_state')
        if trips != {model.trip_c} or states != model.states:
            raise ValueError(f'{BOARD} has passive trips at {trips} C and {states} states of'
                             f' {GPU_COOLING}, the model {model.trip_c} C and {model.states}')

    def write(self, die_c: float, state: int) -> None:
        """
        Write what a kernel would.

        :param die_c: temperature of the GPU, degrees Celsius.
        :param state: of the cooling device that slows it.
        """
        self._tree.set_temperature(GPU_ZONE, die_c)
        self._tree.set_temperature(CPU_ZONE, die_c - CPU_BELOW_GPU_K)
        self._tree.set_cooling(GPU_COOLING, state)
