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

"""Which source of thermal readings a machine gets."""

from __future__ import annotations

from pathlib import Path
from typing import Callable
from typing import Sequence

from c7_inference_ros.thermal.combined import CombinedSource
from c7_inference_ros.thermal.jetson import JetsonThermalSource
from c7_inference_ros.thermal.linux import LinuxThermalSource
from c7_inference_ros.thermal.nvml import NvmlThermalSource
from c7_inference_ros.thermal.source import NullSource
from c7_inference_ros.thermal.source import ThermalSource

#: Builds a source for a sysfs root without reading anything.
SourceBuilder = Callable[[Path], ThermalSource]

#: In order of preference: the first group of which any source is present is taken, and of it every
#: source that is.
SOURCE_GROUPS: tuple[tuple[SourceBuilder, ...], ...] = (
    (JetsonThermalSource,), (LinuxThermalSource, NvmlThermalSource))


def select_source(
        sysfs_root: Path | str = '/sys',
        groups: Sequence[Sequence[SourceBuilder]] = SOURCE_GROUPS,
        on_reason: Callable[[str], None] | None = None) -> ThermalSource:
    """
    Return the source of what this machine is: of a board, or of a host and its GPUs.

    :param sysfs_root: where sysfs is mounted, or a recorded tree.
    :param groups: candidates in order of preference, those that go together in one group.
    :param on_reason: called once with the sentence that says which source was taken and why.
    :returns: the source, several of them as one, a :class:`NullSource` when none is present.
    """
    root = Path(sysfs_root)
    passed_over: list[str] = []
    present: list[ThermalSource] = []
    for group in groups:
        present = [source for builder in group
                   if (source := _present(builder, root, passed_over)) is not None]
        if present:
            break
    because = f' ({"; ".join(passed_over)})' if passed_over else ''
    chosen: ThermalSource
    if present:
        chosen = present[0] if len(present) == 1 else CombinedSource(present)
        devices = ', '.join(chosen.device_names)
        reason = f'thermal source {chosen.name} reads {devices} from {root}{because}'
    else:
        reason = (f'{root}: no thermal source found{because}; temperature and throttling are'
                  ' unknown, virtual machines and containers often hide their sensors')
        chosen = NullSource(reason)
    if on_reason is not None:
        on_reason(reason)
    return chosen


def _present(builder: SourceBuilder, root: Path, passed_over: list[str]) -> ThermalSource | None:
    """Return the source, or None and a further reason in ``passed_over``."""
    try:
        source = builder(root)
        if source.is_present():
            return source
        # Only some sources can tell more than that there is nothing.
        absence = getattr(source, 'absence', '')
        passed_over.append(f'{source.name} has no sensor here{absence and f": {absence}"}')
    except Exception as error:  # one broken candidate must not hide the others
        name = getattr(builder, 'name', getattr(builder, '__name__', repr(builder)))
        passed_over.append(f'{name} failed with {type(error).__name__}: {error}')
    return None
