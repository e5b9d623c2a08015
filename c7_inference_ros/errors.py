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
Every error this package raises on purpose.

.. code-block:: text

    C7Error
    ├── ConfigurationError            a parameter, YAML or model description that cannot be used
    ├── ImageError                    one image that cannot be read; the frame is dropped
    │   ├── MalformedImageError       size, step or compressed data do not agree
    │   └── UnsupportedEncodingError  an encoding that nothing installed can convert
    ├── RuntimeNotAvailableError      a runtime or provider that is not installed here
    ├── BagError                      a rosbag that cannot be read or written
    └── InferenceRuntimeError
        ├── EngineBuildError
        ├── EngineDeserializeError
        │   └── EngineSchemaMismatchError
        ├── EngineSidecarMissingError
        ├── EngineHashMismatchError
        ├── CalibrationCacheError
        ├── InferenceError
        │   └── DeviceLostError        the GPU context is broken; only a new one helps
        ├── OutOfMemoryError
        └── TelemetryUnavailableError

A message is one line: what (file, full parameter name), what was found, what was expected or
is available, and what to do next.
"""

from __future__ import annotations

from typing import Any
from typing import Iterable
from typing import Sequence


class C7Error(Exception):
    """Base of every error of this package."""


class ConfigurationError(C7Error):
    """
    One or more settings that cannot be used.

    :param problems: one line per problem; a single string is one problem.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        """Keep the problems apart so that a caller can print one line each."""
        self.problems: tuple[str, ...] = (
            (problems,) if isinstance(problems, str) else tuple(problems))
        super().__init__('; '.join(self.problems))


class ImageError(C7Error):
    """One image that cannot be turned into pixels; the frame is dropped, the node goes on."""


class MalformedImageError(ImageError):
    """Height, width, step, data length or compressed data of an image do not agree."""


class UnsupportedEncodingError(ImageError):
    """An image encoding that neither this package nor an installed converter reads."""


class RuntimeNotAvailableError(C7Error):
    """A runtime strategy or execution provider that is not installed on this machine."""


class BagError(C7Error):
    """A rosbag that cannot be opened, read to its end, or written."""


class InferenceRuntimeError(C7Error):
    """Base of everything an inference runtime raises once it was built."""


class EngineBuildError(InferenceRuntimeError):
    """An engine could not be built."""


class EngineDeserializeError(InferenceRuntimeError):
    """A model or engine file could not be loaded."""


class EngineSchemaMismatchError(EngineDeserializeError):
    """A model or engine is not what its name, manifest or settings say that it is."""


class EngineSidecarMissingError(InferenceRuntimeError):
    """An engine has no readable ``.sha256`` sidecar."""


class EngineHashMismatchError(InferenceRuntimeError):
    """
    Bytes of an engine are not the bytes that were trusted.

    :param message: the refusal, one line.
    :param stage: which check refused: ``sidecar``, ``manifest``, ``deployment`` or
        ``signature``.
    """

    def __init__(self, message: str, stage: str) -> None:
        """Keep the stage for callers that report it."""
        self.stage = stage
        super().__init__(message)


class CalibrationCacheError(InferenceRuntimeError):
    """A calibration cache is corrupt, or its data set cannot calibrate."""


class InferenceError(InferenceRuntimeError):
    """One inference failed."""


class DeviceLostError(InferenceError):
    """An error after which nothing works on the GPU until the context is made anew."""


class OutOfMemoryError(InferenceRuntimeError):
    """
    Admitting or running a model would take more memory than the budget allows.

    :param message: the refusal, one line.
    :param rows: the account at that moment, with the model that was refused; rows of
        :meth:`c7_inference_ros.runtime.memory_budget.MemoryBudget.table`.
    """

    def __init__(self, message: str, rows: Sequence[Any] = ()) -> None:
        """Keep the account for callers that print it."""
        self.rows = tuple(rows)
        super().__init__(message)


class TelemetryUnavailableError(InferenceRuntimeError):
    """No thermal telemetry can be read on this machine."""
