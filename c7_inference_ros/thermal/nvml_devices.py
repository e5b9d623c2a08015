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

"""Which GPUs NVML sees, and which of them CUDA_VISIBLE_DEVICES leaves to this process."""

from __future__ import annotations

from typing import Any
from typing import Mapping
from typing import NamedTuple

from c7_inference_ros.thermal.nvml_library import NO_PERMISSION
from c7_inference_ros.thermal.nvml_library import NvmlError
from c7_inference_ros.thermal.nvml_library import NvmlLibrary
from c7_inference_ros.thermal.nvml_library import OPERATING_SYSTEM
from c7_inference_ros.thermal.nvml_library import Questions

VARIABLE, ORDER = 'CUDA_VISIBLE_DEVICES', 'CUDA_DEVICE_ORDER'

#: A GPU of another container: it is counted, and may not be asked.
_HIDDEN = {NO_PERMISSION, OPERATING_SYSTEM}


class Gpu(NamedTuple):
    """
    One GPU as NVML has it.

    :param number: its number in NVML; may be another after a restart of the driver.
    :param handle: None when it cannot be asked.
    :param uuid: empty when it cannot be asked.
    :param model: empty when it cannot be asked.
    :param problem: why it cannot be asked, one sentence.
    """

    number: int
    handle: Any
    uuid: str = ''
    model: str = ''
    problem: str = ''


def find_gpus(library: NvmlLibrary) -> list[Gpu]:
    """
    Return every GPU that this process may know of, in NVML's order.

    :raises NvmlError: the library answers nothing.
    """
    gpus = []
    for index in range(int(library.call('nvmlDeviceGetCount'))):
        try:
            handle = library.call('nvmlDeviceGetHandleByIndex', index)
            questions = Questions(library, handle)
            gpus.append(Gpu(index, handle, _text(questions.ask('nvmlDeviceGetUUID')),
                            _text(questions.ask('nvmlDeviceGetName'))))
        except NvmlError as error:
            if error.is_library_lost:
                raise
            if error.code not in _HIDDEN:
                gpus.append(Gpu(index, None, problem=error.sentence))
    return gpus


def visible_gpus(library: NvmlLibrary, gpus: list[Gpu],
                 environment: Mapping[str, str]) -> list[Gpu]:
    """
    Return the GPUs that CUDA shows this process, all where that cannot be told.

    As in CUDA, everything from the first identifier on that names no GPU is ignored.

    :param gpus: what :func:`find_gpus` returned.
    :param environment: of the process.
    """
    chosen = environment.get(VARIABLE)
    if chosen is None:
        return gpus
    identifiers = [word.strip() for word in chosen.split(',')]
    if identifiers[0].isascii() and identifiers[0].isdigit() and not _orders_as_cuda(
            gpus, environment):
        return gpus
    visible: dict[int, Gpu] = {}
    for identifier in identifiers:
        found = _named_by(library, gpus, identifier)
        if not found:
            break
        visible.update((gpu.number, gpu) for gpu in found)
    return [visible[number] for number in sorted(visible)]


def _orders_as_cuda(gpus: list[Gpu], environment: Mapping[str, str]) -> bool:
    """Return whether CUDA numbers these GPUs as NVML does: not when the fastest comes first."""
    return (environment.get(ORDER) == 'PCI_BUS_ID'
            or len({gpu.model for gpu in gpus if gpu.model}) <= 1)


def _named_by(library: NvmlLibrary, gpus: list[Gpu], identifier: str) -> list[Gpu]:
    """Return the GPU of a number, a UUID, the beginning of one, or a part (MIG) of it."""
    if identifier.isascii() and identifier.isdigit():
        return [gpu for gpu in gpus if gpu.number == int(identifier)]
    uuid = identifier
    if identifier.startswith('MIG-GPU-'):  # MIG-GPU-<uuid>/<GPU instance>/<compute instance>
        uuid = identifier[len('MIG-'):].partition('/')[0]
    elif identifier.startswith('MIG-'):
        uuid = _parent_uuid(library, identifier)
    if not uuid.startswith('GPU-'):
        return []
    found = [gpu for gpu in gpus if gpu.uuid.lower().startswith(uuid.lower())]
    # The one that is meant may be the one that is lost and cannot tell its UUID.
    return found[:1] if len(found) == 1 else [gpu for gpu in gpus if not found and not gpu.uuid]


def _parent_uuid(library: NvmlLibrary, identifier: str) -> str:
    """Return the UUID of the GPU that a MIG device is a part of, empty when there is none."""
    try:
        part = library.call('nvmlDeviceGetHandleByUUID', identifier.encode())
        whole = library.call('nvmlDeviceGetDeviceHandleFromMigDeviceHandle', part)
        return _text(library.call('nvmlDeviceGetUUID', whole))
    except NvmlError:
        return ''


def _text(value: Any) -> str:
    """Return a text; older versions of pynvml give bytes."""
    return value.decode(errors='backslashreplace') if isinstance(value, bytes) else value or ''
