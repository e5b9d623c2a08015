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

"""Where the frames went, and whether the numbers add up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

_DROPPED = 'dropped_'
_COUNTS = ('received', 'published', 'in_flight')


@dataclass(frozen=True)
class Account:
    """
    All frames of a run.

    :param sent: images that the demo published.
    :param received: images that the node says it received.
    :param published: detection arrays that the node says it published.
    :param dropped: frames that the node says it dropped, by reason.
    :param in_flight: frames that the node still works on.
    :param recorded: detection arrays that arrived here, each for an image that was sent.
    """

    sent: int
    received: int
    published: int
    dropped: Mapping[str, int]
    in_flight: int
    recorded: int

    @property
    def lost(self) -> int:
        """Return how many images got lost between the demo and the node."""
        return self.sent - self.received

    @property
    def received_share(self) -> float:
        """Return the share of the images that reached the node, 0 to 1."""
        return self.received / self.sent if self.sent else 0.0

    def problems(self) -> list[str]:
        """Return one line for each sum that is wrong."""
        found = []
        if self.received > self.sent:
            found.append(f'the node received {self.received} images, but only {self.sent} were '
                         f'sent: another publisher is on the topic, or the node counts wrong')
        dropped = sum(self.dropped.values())
        if self.received != self.published + dropped + self.in_flight:
            found.append(f'the node received {self.received} frames, but published '
                         f'{self.published}, dropped {dropped} and has {self.in_flight} in work')
        if self.in_flight:
            found.append(f'{self.in_flight} frames were still in work when the node was inactive')
        if self.recorded != self.published:
            found.append(f'the node published {self.published} detection arrays, but '
                         f'{self.recorded} arrived here')
        return found


def node_counts(values: Mapping[str, str]) -> dict[str, object] | None:
    """
    Return the node's own counts.

    :param values: values of its status of the model, on /diagnostics.
    :returns: received, published, in_flight and dropped by reason; None where one is missing.
    """
    try:
        counts: dict[str, object] = {name: int(values[name]) for name in _COUNTS}
        counts['dropped'] = {key[len(_DROPPED):]: int(value) for key, value in values.items()
                             if key.startswith(_DROPPED)}
    except (KeyError, ValueError):
        return None
    return counts
