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

"""What an engine will take, told from its manifest before anything is allocated."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Mapping

from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import X86
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.memory_table import size_text
from c7_inference_ros.runtime.tensor_shapes import resolve_shapes
from c7_inference_ros.runtime.trt.activation_arena import ACTIVATIONS

#: Taken for activations where nobody could measure them when the engine was built.
ASSUMED_ACTIVATIONS = 256 << 20
LOADING = 'plan while loading'


@dataclass(frozen=True)
class Prediction:
    """
    What one engine will take.

    :param weights: bytes on the device.
    :param activations: bytes of scratch memory that its largest profile needs.
    :param io: bytes of all inputs and outputs.
    :param plan: bytes of the file, in host memory while it is loaded.
    :param is_shared: whether the GPU works in the machine's memory: nothing is there twice.
    :param basis: how the figures were made, for people.
    """

    weights: int
    activations: int
    io: int
    plan: int
    is_shared: bool
    basis: str

    def items(self, activation_growth: int) -> tuple[MemoryItem, ...]:
        """
        Return what has to be free for it to load.

        :param activation_growth: bytes by which the shared activations have to grow.
        """
        items = [MemoryItem('weights', self.weights, True),
                 MemoryItem(ACTIVATIONS, activation_growth, True),
                 MemoryItem('io', 0 if self.is_shared else self.io, True),
                 MemoryItem('pinned io', self.io, False),
                 MemoryItem(LOADING, self.plan, False)]
        return tuple(item for item in items if item.predicted_bytes)


def predict(manifest: EngineManifest, profile: int, inputs: Mapping[str, tuple[int, ...]]
            ) -> Prediction:
    """
    Predict what an engine takes.

    :param profile: index of the optimisation profile.
    :param inputs: largest shapes to come, by input; empty for those of the profiles.
    """
    basis = ['predicted from the manifest: io at the largest shapes and true element types']
    weights = manifest.weights_bytes
    if weights is None:
        weights = manifest.engine_bytes
        basis.append('weights as the size of the plan, the builder did not say')
    else:
        basis.append('weights as the builder said')
    known = manifest.context_bytes
    activations = known[profile] if profile < len(known) else None
    if activations is None:
        activations = ASSUMED_ACTIVATIONS
        basis.append(f'activations as {size_text(ASSUMED_ACTIVATIONS)}, they are only known on '
                     f'the device')
    else:
        basis.append('activations as the builder said')
    io = _io_bytes(manifest, inputs)
    is_shared = manifest.host.platform != X86
    return Prediction(weights, activations, io, manifest.engine_bytes, is_shared,
                      ', '.join(basis))


def choose_profile(path: Path, manifest: EngineManifest, extras: Mapping[str, Any]) -> int:
    """
    Return the index of the profile that an engine is to run in.

    :param path: the engine, for errors.
    :param extras: ``profile``, a name or a number, decides; else the first profile that takes
        the ``input_shapes``.
    :raises EngineSchemaMismatchError: there is none.
    """
    profiles = manifest.profiles
    wanted = extras.get('profile')
    names = [profile.name for profile in profiles]
    if wanted is not None:
        if wanted in names:
            return names.index(wanted)
        if isinstance(wanted, int) and 0 <= wanted < max(1, len(profiles)):
            return wanted
        raise EngineSchemaMismatchError(
            f'{path} has no profile {wanted!r}; it has {", ".join(names) or "only one"}')
    shapes: Mapping[str, Any] = extras.get('input_shapes', {})
    if not shapes or not profiles:
        return 0
    for index, profile in enumerate(profiles):
        if not _misfits(profile, shapes):
            return index
    raise EngineSchemaMismatchError(
        f'{path} has no profile for input_shapes: '
        f'{"; ".join(text for profile in profiles for text in _misfits(profile, shapes))}; give '
        f'shapes within a profile, or compile the engine with another')


def largest_inputs(path: Path, manifest: EngineManifest, profile: int,
                   extras: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """
    Return the largest shapes to come: as given, or as the profile allows.

    :raises EngineSchemaMismatchError: a shape that is given does not fit.
    """
    given = extras.get('input_shapes', {})
    resolve_shapes(path, manifest.inputs, extras)  # names and fixed sizes
    ranges = manifest.profiles[profile].shapes if profile < len(manifest.profiles) else {}
    shapes = {spec.name: tuple(spec.max_shape or spec.shape) for spec in manifest.inputs}
    shapes.update({name: tuple(largest) for name, (_, _, largest) in ranges.items()
                   if name in shapes})
    shapes.update({name: tuple(int(size) for size in shape) for name, shape in given.items()})
    return shapes


def _misfits(profile: OptimizationProfile, shapes: Mapping[str, Any]) -> list[str]:
    texts = []
    for name, shape in shapes.items():
        if name not in profile.shapes:
            continue
        smallest, _, largest = profile.shapes[name]
        if len(shape) != len(largest) or any(
                not low <= size <= high for low, size, high in zip(smallest, shape, largest)):
            texts.append(f'{profile.name} takes {name} from {list(smallest)} to {list(largest)}, '
                         f'not {list(shape)}')
    return texts


def _io_bytes(manifest: EngineManifest, inputs: Mapping[str, tuple[int, ...]]) -> int:
    """Return the bytes of inputs and outputs; smaller inputs than the largest make no promise."""
    def size(spec: TensorSpec, shape: tuple[int, ...]) -> int:
        return TensorSpec(spec.name, spec.dtype, shape).max_bytes or 0

    if not manifest.io_bytes:
        return sum(size(spec, spec.max_shape or spec.shape)
                   for spec in (*manifest.inputs, *manifest.outputs))
    saved = sum(size(spec, tuple(spec.max_shape)) - size(spec, inputs[spec.name])
                for spec in manifest.inputs if spec.max_shape and spec.name in inputs)
    return max(0, manifest.io_bytes - max(0, saved))
