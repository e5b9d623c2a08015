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

"""
The YAML file that the dummy runtime plays: tensors, answers, latency and faults.

``config/dummy_model.yaml`` is the documented example.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from enum import Enum
import math
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.runtime.dummy.answers import Answers
from c7_inference_ros.runtime.dummy.answers import encoding_of
import numpy as np

#: Longest script.
MAX_BYTES = 1 << 20
_DTYPES = ('float32', 'float16', 'float64', 'uint8', 'int8', 'int16', 'int32', 'int64', 'bool')
_MEMORY_KEYS = ('device_bytes', 'host_bytes', 'measured_device_bytes', 'measured_host_bytes')


class FaultKind(str, Enum):
    """What goes wrong in a scripted call."""

    INFERENCE = 'inference'
    OUT_OF_MEMORY = 'oom'
    HANG = 'hang'
    NAN = 'nan'
    DEVICE_LOST = 'device_lost'


@dataclass(frozen=True)
class Fault:
    """
    One scripted fault.

    :param at: number of the first call that it hits; the first call of all is 1.
    :param kind: what goes wrong.
    :param count: how many calls in a row it hits.
    :param for_s: how long a hanging call hangs, seconds.
    """

    at: int
    kind: FaultKind
    count: int = 1
    for_s: float = 0.0


@dataclass(frozen=True)
class DummyScript:
    """
    Everything that a scripted model does.

    :param inputs: input tensors; -1 for an open dimension.
    :param outputs: output tensors.
    :param answers: what is in the outputs.
    :param latency_s: how long a call takes at least, seconds.
    :param jitter_s: largest random time on top, seconds.
    :param seed: of the random time.
    :param faults: what goes wrong, and when.
    :param memory: bytes by key: ``device_bytes``, ``host_bytes`` predicted, and the same with
        ``measured_`` before them where the measured figure differs.
    :param metadata: text that a model file would carry.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    answers: Answers
    latency_s: float = 0.0
    jitter_s: float = 0.0
    seed: int = 0
    faults: tuple[Fault, ...] = ()
    memory: Mapping[str, int] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)

    def fault_at(self, call: int) -> Fault | None:
        """Return the fault that hits a call, or None."""
        return next((fault for fault in self.faults
                     if fault.at <= call < fault.at + fault.count), None)


def parse_script(path: Path, data: bytes) -> DummyScript:
    """
    Read a script.

    :param data: the bytes of the file.
    :raises EngineDeserializeError: with everything that is wrong, in one line.
    """
    import yaml
    try:
        content = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise EngineDeserializeError(
            f'{path} is no YAML script for the dummy runtime: {reason}; see '
            f'config/dummy_model.yaml') from error
    if not isinstance(content, dict):
        raise EngineDeserializeError(
            f'{path} holds a {type(content).__name__}, expected a YAML mapping with inputs, '
            f'outputs and detections; see config/dummy_model.yaml')
    reader = _Reader()
    script = reader.script(content)
    if reader.problems or script is None:
        raise EngineDeserializeError(
            f'{path}: {"; ".join(reader.problems)}; see config/dummy_model.yaml')
    return script


class _Reader:
    """Takes plain values apart; what is wrong is collected, so that one look tells everything."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def script(self, content: Mapping[Any, Any]) -> DummyScript | None:
        self._only(content, '', ('inputs', 'outputs', 'detections', 'motion', 'latency_s',
                                 'jitter', 'faults', 'memory', 'metadata'))
        inputs = self._tensors(content.get('inputs'), 'inputs', is_open_allowed=True)
        outputs = self._tensors(content.get('outputs'), 'outputs', is_open_allowed=False)
        jitter = self._mapping(content.get('jitter'), 'jitter', ('max_s', 'seed'))
        detections = self._rows(content.get('detections'))
        motion = self._numbers(content.get('motion', [0, 0]), 'motion', 2, 'dx, dy')
        latency_s = self._number(content.get('latency_s', 0.0), 'latency_s', 0.0)
        jitter_s = self._number(jitter.get('max_s', 0.0), 'jitter.max_s', 0.0)
        seed = self._integer(jitter.get('seed', 0), 'jitter.seed', 0)
        faults = self._faults(content.get('faults'))
        memory = {name: self._integer(value, f'memory.{name}', 0) for name, value in
                  self._mapping(content.get('memory'), 'memory', _MEMORY_KEYS).items()}
        metadata = {str(name): str(value) for name, value in
                    self._mapping(content.get('metadata'), 'metadata', None).items()}
        encoding = encoding_of(outputs)
        if not self.problems and detections:
            if encoding is None:
                found = ', '.join(f'{spec.name} {list(spec.shape)}' for spec in outputs)
                self.problems.append(
                    f'detections cannot be written into {found}; expected one output [1, K, 6], '
                    f'or num_dets [1, 1], det_boxes [1, K, 4], det_scores [1, K] and det_classes '
                    f'[1, K]')
            elif encoding.capacity < len(detections):
                self.problems.append(f'detections has {len(detections)} rows, the outputs have '
                                     f'room for {encoding.capacity}')
        if self.problems:
            return None
        return DummyScript(inputs, outputs,
                           Answers(outputs, encoding, np.array(detections, np.float64),
                                   (motion[0], motion[1])),
                           latency_s, jitter_s, seed, faults, memory, metadata)

    def _tensors(self, value: Any, where: str, is_open_allowed: bool) -> tuple[TensorSpec, ...]:
        if not isinstance(value, list) or not value:
            self._expected(where, value, 'a list of tensors, each with name, dtype and shape')
            return ()
        specs: list[TensorSpec] = []
        for index, entry in enumerate(value):
            here = f'{where}[{index}]'
            entries = self._mapping(entry, here, ('name', 'dtype', 'shape'), is_required=True)
            name, dtype = entries.get('name'), entries.get('dtype', 'float32')
            shape = entries.get('shape')
            if not isinstance(name, str) or not name:
                self._expected(f'{here}.name', name, 'a name')
            elif name in [spec.name for spec in specs]:
                self.problems.append(f'{here}.name is {name!r} a second time')
            elif dtype not in _DTYPES:
                self._expected(f'{here}.dtype', dtype, f'one of {", ".join(_DTYPES)}')
            elif not isinstance(shape, list) or not shape or not all(
                    type(size) is int and (size > 0 or is_open_allowed and size == -1)
                    for size in shape):
                self._expected(f'{here}.shape', shape, 'a list of sizes from 1'
                               + (', -1 for an open one' if is_open_allowed else ''))
            elif math.prod(abs(size) for size in shape) > 1 << 28:
                self._expected(f'{here}.shape', shape, f'at most {1 << 28} elements')
            else:
                specs.append(TensorSpec(name, np.dtype(dtype), tuple(shape)))
        return tuple(specs)

    def _rows(self, value: Any) -> list[list[float]]:
        if value is None:
            return []
        if not isinstance(value, list):
            self._expected('detections', value, 'a list of [x1, y1, x2, y2, score, class]')
            return []
        rows = [self._numbers(row, f'detections[{index}]', 6, 'x1, y1, x2, y2, score, class')
                for index, row in enumerate(value)]
        for index, row in enumerate(rows):
            if row[2] < row[0] or row[3] < row[1] or not 0 <= row[4] <= 1 or row[5] < 0 \
                    or row[5] != int(row[5]):
                self._expected(f'detections[{index}]', value[index],
                               'x1 <= x2, y1 <= y2, a score from 0 to 1 and a class from 0')
        return rows

    def _faults(self, value: Any) -> tuple[Fault, ...]:
        if value is None:
            return ()
        if not isinstance(value, list):
            self._expected('faults', value, 'a list of mappings with at and error')
            return ()
        faults = []
        kinds = [kind.value for kind in FaultKind]
        for index, entry in enumerate(value):
            here = f'faults[{index}]'
            entries = self._mapping(entry, here, ('at', 'error', 'count', 'for_s'),
                                    is_required=True)
            at = self._integer(entries.get('at'), f'{here}.at', 1)
            count = self._integer(entries.get('count', 1), f'{here}.count', 1)
            for_s = self._number(entries.get('for_s', 0.0), f'{here}.for_s', 0.0)
            error = entries.get('error')
            if error not in kinds:
                self._expected(f'{here}.error', error, f'one of {", ".join(kinds)}')
                continue
            if (error == FaultKind.HANG.value) != (for_s > 0):
                self._expected(f'{here}.for_s', entries.get('for_s'),
                               'how many seconds a hang lasts, and nothing for other errors')
            faults.append(Fault(at, FaultKind(error), count, for_s))
        return tuple(faults)

    def _mapping(self, value: Any, where: str, known: Sequence[str] | None,
                 is_required: bool = False) -> Mapping[Any, Any]:
        if value is None and not is_required:
            return {}
        if not isinstance(value, dict):
            self._expected(where, value,
                           f'a mapping with {", ".join(known)}' if known else 'a mapping')
            return {}
        if known is not None:
            self._only(value, f'{where}.', known)
            return {name: entry for name, entry in value.items() if name in known}
        return value

    def _only(self, value: Mapping[Any, Any], prefix: str, known: Sequence[str]) -> None:
        for name in value:
            if name not in known:
                near = nearest(str(name), known)
                hint = f'did you mean {near}?' if near else f'expected {", ".join(known)}'
                self.problems.append(f'unknown key {prefix}{name}; {hint}')

    def _numbers(self, value: Any, where: str, length: int, names: str) -> list[float]:
        if not isinstance(value, list) or len(value) != length or not all(
                _is_number(entry) for entry in value):
            self._expected(where, value, f'{length} numbers: {names}')
            return [0.0] * length
        return [float(entry) for entry in value]

    def _number(self, value: Any, where: str, minimum: float) -> float:
        if not _is_number(value) or value < minimum:
            self._expected(where, value, f'a number of at least {minimum:g}')
            return minimum
        return float(value)

    def _integer(self, value: Any, where: str, minimum: int) -> int:
        if type(value) is not int or value < minimum:
            self._expected(where, value, f'an integer of at least {minimum}')
            return minimum
        return value

    def _expected(self, where: str, found: Any, expected: str) -> None:
        text = 'missing' if found is None else repr(found)
        self.problems.append(
            f'{where} is {text if len(text) <= 60 else text[:60] + "..."}, expected {expected}')


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)
