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
Shape ranges of a network, settled before TensorRT sees them.

TensorRT answers a bad profile with -1 and no reason, and toolkits fill what is missing with ones;
here every dimension is given, or open in the one way that has an obvious answer: the batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence

from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import EngineBuildError

Shape = tuple[int, ...]
Range = tuple[Shape, Shape, Shape]
_BOUNDS = ('minimum', 'optimum', 'maximum')


@dataclass(frozen=True)
class NetworkInput:
    """
    One input as the network has it.

    :param name: tensor name.
    :param shape: dimensions; -1 where one is open.
    :param is_shape_tensor: its values, not its shape, are what a profile gives ranges of.
    """

    name: str
    shape: Shape
    is_shape_tensor: bool = False

    @property
    def is_open(self) -> bool:
        """Whether a profile has to speak of it."""
        return self.is_shape_tensor or any(size < 0 for size in self.shape)


def settle_profiles(model: str, inputs: Sequence[NetworkInput],
                    wanted: Sequence[OptimizationProfile]) -> tuple[OptimizationProfile, ...]:
    """
    Complete and check the profiles of a network.

    An open batch (the first dimension) that nobody gives is that of the other inputs of the same
    profile, or one image.

    :param model: name for messages.
    :param inputs: all inputs of the network.
    :param wanted: profiles that were asked for.
    :returns: every open input in each; none where no input is open.
    :raises EngineBuildError: a size is missing, contradicts the model or is out of order.
    """
    names = [one.name for one in wanted]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise EngineBuildError(
            f'{model}: profile {repeated!r} is given {names.count(repeated)} times; give each '
            f'profile a name of its own')
    is_open = any(one.is_open for one in inputs)
    # Also where nothing is open: a contradiction must not pass unseen.
    settled = tuple(_settle(model, inputs, one) for one in
                    (wanted or ((OptimizationProfile('default', {}),) if is_open else ())))
    return settled if is_open else ()


def largest_shapes(inputs: Sequence[NetworkInput], profiles: Sequence[OptimizationProfile]
                   ) -> dict[str, Shape]:
    """
    Return the largest shape of each input over the profiles, dimension by dimension.

    :param profiles: as :func:`settle_profiles` returns them.
    """
    largest = {}
    for one in inputs:
        shapes = [profile.shapes[one.name][2] for profile in profiles
                  if one.name in profile.shapes and not one.is_shape_tensor]
        largest[one.name] = tuple(max(sizes) for sizes in zip(*shapes)) or one.shape
    return largest


def _settle(model: str, inputs: Sequence[NetworkInput], profile: OptimizationProfile
            ) -> OptimizationProfile:
    where = f'{model}: profile {profile.name!r}'
    unknown = sorted(set(profile.shapes) - {one.name for one in inputs})
    if unknown:
        raise EngineBuildError(
            f'{where} names the input {unknown[0]!r}, which the model does not have; its inputs '
            f'are {", ".join(one.name for one in inputs)}')
    for one in inputs:
        if one.name in profile.shapes:
            _check(where, one, profile.shapes[one.name])
    batch = _batch(inputs, profile)
    return OptimizationProfile(profile.name, {
        one.name: tuple_of(profile.shapes[one.name]) if one.name in profile.shapes
        else _complete(where, one, batch) for one in inputs if one.is_open})


def tuple_of(shapes: Sequence[Sequence[int]]) -> Range:
    """Return (minimum, optimum, maximum) in plain tuples of int."""
    smallest, best, largest = (tuple(int(size) for size in shape) for shape in shapes)
    return smallest, best, largest


def _batch(inputs: Sequence[NetworkInput], profile: OptimizationProfile) -> tuple[int, int, int]:
    """Return the range of the batch that inputs with an open one were given; else one image."""
    given = {(low[0], best[0], high[0]) for one in inputs if one.shape and one.shape[0] < 0
             and not one.is_shape_tensor and one.name in profile.shapes
             for low, best, high in (profile.shapes[one.name],)}
    return given.pop() if len(given) == 1 else (1, 1, 1)


def _complete(where: str, one: NetworkInput, batch: tuple[int, int, int]) -> Range:
    if one.is_shape_tensor:
        raise EngineBuildError(
            f'{where} gives no values of the input {one.name!r}, which computes shapes inside '
            f'the model; give the smallest, usual and largest values, for example '
            f'{_example(one)}')
    missing = [index for index, size in enumerate(one.shape) if size < 0 and index > 0]
    if missing:
        dimensions = ', '.join(str(index) for index in missing)
        raise EngineBuildError(
            f'{where} leaves dimension{"s" * (len(missing) > 1)} {dimensions} of the input '
            f'{one.name!r} {list(one.shape)} open, and only the batch can be guessed; give the '
            f'smallest, usual and largest shape, for example {_example(one)}')
    low, best, high = (tuple(size if size >= 0 else count for size in one.shape)
                       for count in batch)
    return low, best, high


def _check(where: str, one: NetworkInput, shapes: Sequence[Sequence[int]]) -> None:
    if len(shapes) != 3:
        raise EngineBuildError(
            f'{where} gives {len(shapes)} shapes of the input {one.name!r}, expected minimum, '
            f'optimum and maximum')
    rank = one.shape[0] if one.is_shape_tensor and one.shape else len(one.shape)
    for bound, shape in zip(_BOUNDS, shapes):
        sizes = f'{bound} {list(shape)} of the input {one.name!r}'
        if one.is_shape_tensor:
            if rank > 0 and len(shape) != rank:
                raise EngineBuildError(
                    f'{where}: {sizes} has {len(shape)} values, expected {rank}')
            continue
        if len(shape) != rank:
            raise EngineBuildError(
                f'{where}: {sizes} has {len(shape)} dimensions, expected {rank} as in the model: '
                f'{list(one.shape)}')
        for index, (size, fixed) in enumerate(zip(shape, one.shape)):
            if size < 1:
                raise EngineBuildError(
                    f'{where}: dimension {index} of {sizes} is {size}, expected 1 or more')
            if fixed >= 0 and size != fixed:
                raise EngineBuildError(
                    f'{where}: dimension {index} of {sizes} is {size}, but the model fixes it to '
                    f'{fixed}; correct the profile, or export the model with this dimension open')
    for index, (low, best, high) in enumerate(zip(*shapes)):
        if not low <= best <= high:
            what = 'value' if one.is_shape_tensor else 'dimension'
            raise EngineBuildError(
                f'{where}: {what} {index} of the input {one.name!r} has minimum {low}, optimum '
                f'{best} and maximum {high}, expected minimum <= optimum <= maximum')


def _example(one: NetworkInput) -> str:
    """Write down a possible range, as a configuration file would have it."""
    if one.is_shape_tensor:
        count = max(1, one.shape[0] if one.shape else 1)
        return f'{{"{one.name}": [{[1] * count}, {[1] * count}, {[1] * count}]}}'
    shape = [size if size >= 0 else 640 if index > 1 else 1
             for index, size in enumerate(one.shape)]
    return f'{{"{one.name}": [{shape}, {shape}, {shape}]}}'
