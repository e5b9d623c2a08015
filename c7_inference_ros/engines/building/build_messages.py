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

"""What TensorRT says during a build, without what means nothing."""

from __future__ import annotations

from typing import Iterable
from typing import Sequence

from c7_inference_ros.engines.tensorrt_log import Captured

#: What is said in every build and means nothing.
_NOISE = ('Thread context has not been set', 'strongly typed is enabled by default',
          'is unsupported in TensorRT-RTX')
#: What follows from the lack of a GPU or from another error, and explains neither.
_AFTERMATH = ('catchCudaError', 'While parsing node number', '--- Begin node', '--- End node')
_MAX_REASON = 700


def failure_reason(said: Captured) -> str:
    """Return why a build failed, in one line, without what only follows from the real errors."""
    errors = [text for text in said.errors() if not _is_any(text, _NOISE)]
    causes = [text for text in errors if not _is_any(text, _AFTERMATH)] or errors
    text = '; '.join(causes or useful_warnings(said.warnings())[-3:])
    if len(text) > _MAX_REASON:
        text = f'{text[:_MAX_REASON]}...'
    return text or 'TensorRT gave no reason'


def useful_warnings(warnings: Iterable[str]) -> tuple[str, ...]:
    """Return the warnings without those that every build gives."""
    return tuple(text for text in warnings if not _is_any(text, _NOISE))


def _is_any(text: str, patterns: Sequence[str]) -> bool:
    return any(pattern in text for pattern in patterns)
