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

"""The number of valid rows that a graph with suppression returns beside its padded lists."""

from __future__ import annotations

from c7_inference_ros.errors import InferenceError
from c7_inference_ros.vision.decoders.candidates import Array


def valid_rows(count: Array, limit: int, what: str) -> int:
    """
    Return a count that is usable.

    :param count: the tensor, one element.
    :param limit: length of the lists.
    :param what: name of the tensor, for messages.
    :raises InferenceError: when it is not from 0 to the limit.
    """
    value = float(count.reshape(-1)[0])
    if not 0 <= value <= limit:
        raise InferenceError(f'{what} is {value:g}, expected 0 to {limit}; the outputs of this '
                             f'inference are broken')
    return int(value)
