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

"""What a decoder is, and the one class behind all of them."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Callable
from typing import Mapping
from typing import Protocol
from typing import Sequence

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.vision.decoders.candidates import Array
from c7_inference_ros.vision.decoders.candidates import Candidates
from c7_inference_ros.vision.decoders.candidates import score_floor
from c7_inference_ros.vision.decoders.candidates import to_detections
from c7_inference_ros.vision.decoders.shapes import match_shapes
from c7_inference_ros.vision.decoders.shapes import MismatchError
from c7_inference_ros.vision.decoders.shapes import Pattern
from c7_inference_ros.vision.decoders.shapes import shape_text
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.letterbox import ImageGeometry
from c7_inference_ros.vision.settings import DetectionSettings
import numpy as np

#: (tensors by role with their batch dimension, geometry, lowest score of interest) -> candidates.
Reader = Callable[[Mapping[str, Array], ImageGeometry, float], Candidates]


@dataclass(frozen=True)
class OutputSpec:
    """
    One input or output tensor of a model.

    :param name: tensor name in the model.
    :param shape: sizes; -1 where the model leaves one open.
    :param dtype: element type.
    """

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __str__(self) -> str:
        """Return name, element type and shape for a message."""
        return f'{self.name} {np.dtype(self.dtype).name} {shape_text(self.shape)}'

    @property
    def short_name(self) -> str:
        """Return the name in lower case without a path before or a ``:0`` after it."""
        return self.name.partition(':')[0].rpartition('/')[2].lower()

    @property
    def is_float(self) -> bool:
        """Return whether the elements are floating-point numbers."""
        return bool(np.issubdtype(self.dtype, np.floating))


@dataclass(frozen=True)
class ModelSignature:
    """
    What a decoder is chosen by.

    :param inputs: every input of the model, the image among them.
    :param outputs: every output.
    :param network_wh: width and height of the image input, in pixels.
    :param full_name: full parameter name of the decoder, for messages.
    """

    inputs: tuple[OutputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    network_wh: tuple[int, int]
    full_name: str

    def only_output(self) -> OutputSpec:
        """Return the one output; raise :class:`MismatchError` where there are several."""
        if len(self.outputs) != 1:
            raise MismatchError(f'{len(self.outputs)} outputs found, expected one')
        return self.outputs[0]

    def by_role(self, roles: Mapping[str, Sequence[str]]) -> dict[str, OutputSpec]:
        """
        Find outputs by their names.

        :param roles: the names that a tensor may have, by its role.
        :raises MismatchError: when one is not there.
        """
        found: dict[str, OutputSpec] = {}
        for role, names in roles.items():
            matching = [spec for spec in self.outputs if spec.short_name in names]
            if len(matching) != 1:
                raise MismatchError(
                    f'{len(matching)} outputs named {" or ".join(names)} found, expected one')
            found[role] = matching[0]
        return found


class Decoder(Protocol):
    """Turns the outputs of one model into detections; holds no state of a frame."""

    @property
    def name(self) -> str:
        """Return the name that the parameter knows it by."""

    @property
    def num_classes(self) -> int | None:
        """Return the number of classes; None when the shapes of the outputs do not tell."""

    @property
    def needs_nms(self) -> bool:
        """Return whether boxes are suppressed here: the model does not do it."""

    @property
    def extra_inputs(self) -> tuple[str, ...]:
        """Return the names of the inputs other than the image, to be filled for each frame."""

    def decode(self, outputs: Mapping[str, Array], geometry: ImageGeometry,
               settings: DetectionSettings) -> Detections:
        """
        Return the detections of one image.

        :param outputs: the model's outputs by tensor name, of batch size 1.
        :param geometry: how the image lay in the network input.
        :param settings: thresholds of this frame.
        :returns: in source pixels, best first, thresholded, filtered and suppressed.
        :raises InferenceError: when a tensor is not what the model promised.
        """

    def extra_input(self, name: str, geometry: ImageGeometry, dtype: np.dtype[Any]) -> Array:
        """Return the value of one of the extra inputs, batch size 1."""


@dataclass(frozen=True)
class HeadDecoder:
    """
    A decoder made of a pure function and the shapes of the tensors that it reads.

    :param tensors: tensor name by role.
    :param patterns: shape pattern by role; checked again on every frame.
    :param read: the function.
    :param extras: value of each extra input, for a geometry.
    :param full_name: full parameter name of the decoder, for messages.
    """

    name: str
    num_classes: int | None
    needs_nms: bool
    tensors: Mapping[str, str]
    patterns: Mapping[str, Pattern]
    read: Reader
    full_name: str
    extras: Mapping[str, Callable[[ImageGeometry], Sequence[int]]] = field(default_factory=dict)

    @property
    def extra_inputs(self) -> tuple[str, ...]:
        """Return the names of the inputs other than the image."""
        return tuple(self.extras)

    def extra_input(self, name: str, geometry: ImageGeometry, dtype: np.dtype[Any]) -> Array:
        """Return the value of one of the extra inputs, [1, ...] of dtype."""
        return np.array([self.extras[name](geometry)], dtype=dtype)

    def decode(self, outputs: Mapping[str, Array], geometry: ImageGeometry,
               settings: DetectionSettings) -> Detections:
        """Return the detections of one image; see :meth:`Decoder.decode`."""
        arrays = {role: outputs[name] for role, name in self.tensors.items()}
        try:
            match_shapes({self.tensors[role]: self.patterns[role] for role in arrays},
                         {self.tensors[role]: array.shape for role, array in arrays.items()})
        except MismatchError as error:
            raise InferenceError(f'{self.full_name}: output {error}') from error
        # Broken numbers are dropped by value, not warned about.
        with np.errstate(all='ignore'):
            candidates = self.read(arrays, geometry, score_floor(settings))
            return to_detections(candidates, geometry, settings, self.needs_nms, self.full_name)


def make_decoder(name: str, model: ModelSignature, specs: Mapping[str, OutputSpec],
                 patterns: Mapping[str, Pattern], read: Reader, *, num_classes: int | None,
                 needs_nms: bool, extras: Mapping[str, Any] | None = None) -> HeadDecoder:
    """Return a decoder of outputs that were found to fit."""
    return HeadDecoder(
        name=name, num_classes=num_classes, needs_nms=needs_nms, read=read,
        tensors={role: spec.name for role, spec in specs.items()}, patterns=patterns,
        full_name=model.full_name, extras=extras or {})


def match_specs(specs: Mapping[str, OutputSpec], patterns: Mapping[str, Pattern]
                ) -> dict[str, int]:
    """
    Check declared outputs against patterns, both by role.

    :returns: the size of each letter, -1 where open.
    :raises MismatchError: naming the tensor that disagrees.
    """
    for role, spec in specs.items():
        if role in ('boxes', 'scores', 'head') and not spec.is_float:
            raise MismatchError(f'{spec.name} is {np.dtype(spec.dtype).name}, expected float')
    return match_shapes({spec.name: patterns[role] for role, spec in specs.items()},
                        {spec.name: spec.shape for spec in specs.values()})
