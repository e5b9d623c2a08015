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

"""What PyTorch says when it refuses a model or fails, in one line."""

from __future__ import annotations

_MAX = 300
_NO_MEMORY = ('out of memory', "can't allocate memory", 'bad_alloc', 'CUBLAS_STATUS_ALLOC_FAILED')


def last_line(text: str) -> str:
    """Return what a message of PyTorch ends with: before it come the frames of a TorchScript."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    # What CUDA adds about debugging says nothing of the failure.
    lines = [line for line in lines if not line.startswith((
        'CUDA kernel errors might', 'For debugging consider', 'Compile with', 'Device-side'))]
    line = ' '.join(lines[-1].split()) if lines else 'no reason given'
    return line if len(line) <= _MAX else f'{line[:_MAX]}...'


def is_out_of_memory(text: str) -> bool:
    """Return whether a message says that memory was not to be had."""
    return any(words in text for words in _NO_MEMORY)
