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
Where every frame went.

At every moment, for every camera and model: received == published + dropped + in flight. The
four numbers are counted one by one and never derived from each other, so that a frame that is
lost or settled twice shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
import threading
from types import MappingProxyType
from typing import Iterable
from typing import Mapping

#: (camera name, model name)
Stream = tuple[str, str]


class DropReason(str, Enum):
    """Why a frame was not published."""

    OVERWRITTEN = 'overwritten'
    STALE = 'stale'
    BAD_ENCODING = 'bad_encoding'
    BAD_IMAGE = 'bad_image'
    INACTIVE = 'inactive'
    INFERENCE_ERROR = 'inference_error'
    PUBLISH_ERROR = 'publish_error'
    #: Faster than ``cameras.<camera>.max_rate`` takes.
    RATE_LIMITED = 'rate_limited'
    #: Load that was shed because of heat.
    THERMAL = 'thermal'


@dataclass(frozen=True)
class AccountSnapshot:
    """
    The account of one camera and model at one moment.

    :param received: frames that arrived.
    :param published: frames whose detections were published.
    :param dropped: frames by reason; every reason is there.
    :param in_flight: frames that wait or are in work.
    """

    received: int
    published: int
    dropped: Mapping[DropReason, int]
    in_flight: int

    @property
    def dropped_total(self) -> int:
        """Frames dropped for any reason."""
        return sum(self.dropped.values())

    def balance(self) -> int:
        """Return how many frames nobody accounts for; 0 unless there is a bug."""
        return self.received - self.published - self.dropped_total - self.in_flight


class FrameAccount:
    """
    Account of one camera and model; any thread may use it.

    :param name: what the account is called in messages.
    :param lock: shared by accounts that are read together; reentrant.
    """

    def __init__(self, name: str = 'frames', lock: threading.RLock | None = None) -> None:
        """Begin with no frame."""
        self._name = name
        self._lock = lock if lock is not None else threading.RLock()
        self._received = 0
        self._published = 0
        self._in_flight = 0
        self._dropped = dict.fromkeys(DropReason, 0)

    def receive(self) -> None:
        """Count a frame that arrived; it is in flight until it is published or dropped."""
        with self._lock:
            self._received += 1
            self._in_flight += 1

    def publish(self) -> None:
        """
        Count a frame in flight as published.

        :raises RuntimeError: none is in flight; the account is left as it was.
        """
        with self._lock:
            self._land('published')
            self._published += 1

    def drop(self, reason: DropReason) -> None:
        """
        Count a frame in flight as dropped.

        :raises RuntimeError: none is in flight; the account is left as it was.
        """
        with self._lock:
            self._land(reason.value)
            self._dropped[reason] += 1

    def snapshot(self) -> AccountSnapshot:
        """Return the account as it is at one moment."""
        with self._lock:
            return AccountSnapshot(self._received, self._published,
                                   MappingProxyType(dict(self._dropped)), self._in_flight)

    def _land(self, outcome: str) -> None:
        if self._in_flight == 0:
            raise RuntimeError(
                f'{self._name}: a frame was settled as {outcome} with none in flight, expected'
                f' one settlement for each received frame; this is a bug of the caller')
        self._in_flight -= 1


class FrameAccounts:
    """
    Accounts of all streams, read and written under one lock.

    :param models_by_camera: names of the models that look at each camera.
    """

    def __init__(self, models_by_camera: Mapping[str, Iterable[str]]) -> None:
        """Open an empty account for every camera and model."""
        self._lock = threading.RLock()
        self._models = {camera: tuple(models) for camera, models in models_by_camera.items()}
        self._accounts = {
            (camera, model): FrameAccount(f'{camera}/{model}', self._lock)
            for camera, models in self._models.items() for model in models}

    @property
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras."""
        return tuple(self._models)

    @property
    def streams(self) -> tuple[Stream, ...]:
        """Every (camera, model)."""
        return tuple(self._accounts)

    def models_of(self, camera: str) -> tuple[str, ...]:
        """Return the names of the models that look at a camera."""
        return self._models[camera]

    def frame_received(self, camera: str) -> None:
        """Count a frame of a camera as received for each of its models."""
        with self._lock:
            for model in self._models[camera]:
                self._accounts[camera, model].receive()

    def frame_dropped(self, camera: str, reason: DropReason) -> None:
        """Count a frame of a camera as dropped for each of its models."""
        with self._lock:
            for model in self._models[camera]:
                self._accounts[camera, model].drop(reason)

    def published(self, camera: str, model: str) -> None:
        """Count a frame of a camera as published for one model."""
        self._accounts[camera, model].publish()

    def dropped(self, camera: str, model: str, reason: DropReason) -> None:
        """Count a frame of a camera as dropped for one model."""
        self._accounts[camera, model].drop(reason)

    def snapshot(self) -> dict[Stream, AccountSnapshot]:
        """Return all accounts as they are at one moment."""
        with self._lock:
            return {stream: account.snapshot() for stream, account in self._accounts.items()}
