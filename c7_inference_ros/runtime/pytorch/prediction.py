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

"""What a model will take in PyTorch, told from its file before it is loaded."""

from __future__ import annotations

from c7_inference_ros.runtime.base import MemoryItem

#: How the figures were made, for people.
BASIS = ('predicted: weights are the bytes of the model file, io those of its tensors at their '
         'largest known shapes; activations are not known beforehand. measured: growth of the '
         'process, and what the GPU has less, from before loading to after the first inference')


def predicted_items(weights: int, io: int, is_on_cpu: bool) -> tuple[MemoryItem, ...]:
    """
    Return what has to be free for a model to load.

    :param weights: bytes of the model file.
    :param io: bytes of all inputs and outputs.
    :param is_on_cpu: whether the CPU runs it.
    """
    if is_on_cpu:
        return (MemoryItem('weights', weights, False), MemoryItem('io', io, False))
    return (MemoryItem('weights', weights, True), MemoryItem('io', io, True),
            MemoryItem('weights while loading', weights, False), MemoryItem('pinned', io, False))
