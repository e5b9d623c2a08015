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

"""The ledger that every model is admitted by: reserve, then commit or release."""

from __future__ import annotations

from dataclasses import replace
import threading
from types import TracebackType
from typing import Callable
from typing import Iterable
from typing import Sequence

from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime import process_memory
from c7_inference_ros.runtime.base import MemoryItem
from c7_inference_ros.runtime.memory_table import BudgetRow
from c7_inference_ros.runtime.memory_table import format_table
from c7_inference_ros.runtime.memory_table import size_text

__all__ = ['BudgetRow', 'format_table', 'MemoryBudget', 'Reservation', 'size_text']

_LIMITS = {True: 'memory.device_budget_bytes', False: 'memory.host_budget_bytes'}
_PLACES = {True: 'device', False: 'host'}
_TOTAL = 'total'


class Reservation:
    """
    What one model was granted; made by :meth:`MemoryBudget.reserve`.

    As a context manager it gives the memory back when its block is left by an exception.
    """

    def __init__(self, budget: MemoryBudget, name: str, items: tuple[MemoryItem, ...]) -> None:
        """Belong to a budget; only the budget makes reservations."""
        self.name = name
        self.items = items
        self._budget = budget
        self._measured: dict[bool, int | None] = {True: None, False: None}

    def __enter__(self) -> Reservation:
        """Return the reservation."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """Release on failure."""
        if kind is not None:
            self.release()

    def commit(self, measured_host_bytes: int | None = None,
               measured_device_bytes: int | None = None) -> None:
        """
        Record what was really taken; more than predicted shows in later admissions.

        :param measured_host_bytes: None where it was not measured.
        :param measured_device_bytes: the same.
        :raises RuntimeError: the reservation was released.
        """
        self._budget._commit(self, measured_host_bytes, measured_device_bytes)

    def record(self, is_device: bool, taken_bytes: int) -> bool:
        """
        Note what is taken of one place at this moment, unless the budget does not allow it.

        For memory that grows while a model loads or runs. What was granted is always allowed;
        more is, as long as all models together stay within the budget.

        :returns: False when it is too much; nothing was noted.
        """
        return self._budget._record(self, is_device, taken_bytes)

    def resize(self, items: Iterable[MemoryItem], who: str = '') -> None:
        """
        Replace what was predicted, once more is known.

        :param who: the model that needs it, for the refusal.
        :raises OutOfMemoryError: it does not fit; the reservation is as it was.
        """
        self._budget._resize(self, tuple(items), who or self.name)

    def hand_over(self, name: str, other: Reservation) -> None:
        """Move an item to another reservation, where it adds to the item of the same name."""
        self._budget._hand_over(self, name, other)

    def release(self) -> None:
        """Give everything back; idempotent."""
        self._budget._release(self)

    def predicted(self, is_device: bool) -> int:
        """Return the predicted bytes of one place."""
        return _sum(self.items, is_device)

    def measured(self, is_device: bool) -> int | None:
        """Return the measured bytes of one place, or None."""
        return self._measured[is_device]

    def charged(self, is_device: bool) -> int:
        """Return what counts against the budget: the larger of predicted and measured."""
        return max(self.predicted(is_device), self._measured[is_device] or 0)


class MemoryBudget:
    """
    Device and host memory that all models together may take; any thread may call.

    :param device_limit_bytes: budget of device memory.
    :param host_limit_bytes: budget of host memory, resident growth of the process from now.
    :param read_rss: reads the resident memory of the process.
    :param read_available: reads the free memory of the machine.
    """

    def __init__(self, device_limit_bytes: int, host_limit_bytes: int, *,
                 read_rss: Callable[[], int | None] = process_memory.rss_bytes,
                 read_available: Callable[[], int | None] = process_memory.available_bytes
                 ) -> None:
        """Begin with nothing reserved; growth counts from here."""
        self._limits = {True: device_limit_bytes, False: host_limit_bytes}
        self._read_rss = read_rss
        self._read_available = read_available
        self._baseline = read_rss()
        self._lock = threading.Lock()
        self._held: list[Reservation] = []

    @property
    def device_limit_bytes(self) -> int:
        """Budget of device memory."""
        return self._limits[True]

    @property
    def host_limit_bytes(self) -> int:
        """Budget of host memory."""
        return self._limits[False]

    def check(self, name: str, items: Iterable[MemoryItem]) -> None:
        """
        Say whether a model would be admitted now, without reserving anything.

        :raises OutOfMemoryError: as :meth:`reserve`.
        """
        with self._lock:
            self._admit(name, tuple(items))

    def reserve(self, name: str, items: Iterable[MemoryItem]) -> Reservation:
        """
        Reserve memory before it is allocated.

        :param name: the model, for reports.
        :param items: what it will take.
        :raises OutOfMemoryError: it does not fit, itemised; the ledger is as it was.
        """
        reservation = Reservation(self, name, tuple(items))
        with self._lock:
            self._admit(name, reservation.items)
            self._held.append(reservation)
        return reservation

    def totals(self) -> dict[str, BudgetRow]:
        """Return the sum over all models by place (``device``, ``host``)."""
        with self._lock:
            return {_PLACES[place]: self._total(self._held, place) for place in (True, False)}

    def growth_bytes(self) -> int | None:
        """Return how much the process grew since the budget was made, or None."""
        now = self._read_rss()
        return None if now is None or self._baseline is None else max(0, now - self._baseline)

    def table(self) -> list[BudgetRow]:
        """Return one row a model and place, then the totals with their limits."""
        with self._lock:
            return self._rows(self._held)

    def check_measured(self, free_floor_bytes: int, rss_bytes: int | None = None,
                       free_bytes: int | None = None,
                       device_free_bytes: int | None = None) -> None:
        """
        Refuse when what was really taken is too much; called before frames are let in.

        Host memory is what the models were measured to take, or the growth of the whole process
        where that is more.

        :param free_floor_bytes: free memory that must be left on the machine and on the device.
        :param rss_bytes: resident memory of the process now; read when None.
        :param free_bytes: free memory of the machine now; read when None.
        :param device_free_bytes: free memory of the device now; not checked when None.
        :raises OutOfMemoryError: everything that is too much, itemised, in one line.
        """
        rss = self._read_rss() if rss_bytes is None else rss_bytes
        free = self._read_available() if free_bytes is None else free_bytes
        growth = 0 if rss is None or self._baseline is None else rss - self._baseline
        with self._lock:
            problems = [problem for place in (True, False)
                        if (problem := self._excess(place, 0 if place else growth))]
        for place, left in (('this machine', free), ('the device', device_free_bytes)):
            if left is not None and left < free_floor_bytes:
                problems.append(
                    f'{size_text(left)} of memory are free on {place}, expected at least '
                    f'{size_text(free_floor_bytes)} (memory.free_floor_bytes); stop other '
                    f'programs, load fewer or smaller models or lower the floor')
        if problems:
            raise OutOfMemoryError('; '.join(problems), self.table())

    def _admit(self, name: str, items: tuple[MemoryItem, ...],
               instead_of: Reservation | None = None) -> None:
        """Raise when something does not fit beside all others; under the lock."""
        problems = []
        for place in (True, False):
            needed = _sum(items, place)
            held = sum(other.charged(place) for other in self._held if other is not instead_of)
            over = held + needed - self._limits[place]
            if needed and over > 0:
                problems.append(
                    f'{name} needs {size_text(needed)} of {_PLACES[place]} memory '
                    f'({_itemised(items, place)}), {over} bytes more than the budget of '
                    f'{size_text(self._limits[place])} leaves beside '
                    f'{self._holders(place, instead_of)}; raise {_LIMITS[place]} or load fewer or '
                    f'smaller models')
        if problems:
            raise OutOfMemoryError('; '.join(problems), self._refusal(name, items, instead_of))

    def _refusal(self, name: str, items: tuple[MemoryItem, ...],
                 instead_of: Reservation | None) -> list[BudgetRow]:
        """Return the account as it would have been with a model that is refused."""
        refused = Reservation(self, f'{name} (refused)', items)
        return self._rows([held for held in self._held if held is not instead_of] + [refused])

    def _excess(self, place: bool, growth: int) -> str:
        """Return what is wrong with the measured total of one place, or an empty string."""
        models = sum(_real(held, place) for held in self._held)
        used, limit = max(models, growth), self._limits[place]
        if used <= limit:
            return ''
        whole = (f' (the process grew by {size_text(growth)} since before the models were loaded)'
                 if growth > models else '')
        return (f'{_PLACES[place]} memory in use is {size_text(used)}{whole}, {used - limit} '
                f'bytes more than the budget of {size_text(limit)}: {self._holders(place)}; '
                f'raise {_LIMITS[place]} or load fewer or smaller models')

    def _holders(self, place: bool, instead_of: Reservation | None = None) -> str:
        texts = []
        for held in self._held:
            measured = held.measured(place)
            if held.charged(place) and held is not instead_of:
                how = 'not measured' if measured is None else f'measured {size_text(measured)}'
                texts.append(f'{held.name} predicted {size_text(held.predicted(place))} {how}')
        return ', '.join(texts) or 'no other model'

    def _rows(self, reservations: Sequence[Reservation]) -> list[BudgetRow]:
        rows = [BudgetRow(held.name, _PLACES[place], held.predicted(place),
                          held.measured(place), None, _itemised(held.items, place))
                for held in reservations for place in (True, False)
                if held.predicted(place) or held.measured(place) is not None]
        return rows + [self._total(reservations, place) for place in (True, False)]

    def _total(self, reservations: Sequence[Reservation], place: bool) -> BudgetRow:
        known = [held.measured(place) for held in reservations]
        measured = [value for value in known if value is not None]
        return BudgetRow(_TOTAL, _PLACES[place],
                         sum(held.predicted(place) for held in reservations),
                         sum(measured) if measured else None, self._limits[place])

    def _commit(self, reservation: Reservation, host: int | None, device: int | None) -> None:
        with self._lock:
            if reservation not in self._held:
                raise RuntimeError(f'the reservation of {reservation.name} was released already')
            reservation._measured = {True: device, False: host}

    def _record(self, reservation: Reservation, is_device: bool, taken: int) -> bool:
        with self._lock:
            others = sum(other.charged(is_device) for other in self._held
                         if other is not reservation)
            if reservation not in self._held or (
                    taken > reservation.predicted(is_device)
                    and others + taken > self._limits[is_device]):
                return False
            reservation._measured[is_device] = taken
            return True

    def _resize(self, reservation: Reservation, items: tuple[MemoryItem, ...], who: str) -> None:
        with self._lock:
            if any(_sum(items, place) > reservation.predicted(place) for place in (True, False)):
                self._admit(who, items, instead_of=reservation)
            reservation.items = items

    def _hand_over(self, giver: Reservation, name: str, taker: Reservation) -> None:
        with self._lock:
            for item in [item for item in giver.items if item.name == name]:
                giver.items = tuple(other for other in giver.items if other is not item)
                same = [other for other in taker.items
                        if (other.name, other.is_device) == (name, item.is_device)]
                taker.items = (*(other for other in taker.items if other not in same), replace(
                    item, predicted_bytes=item.predicted_bytes + sum(
                        other.predicted_bytes for other in same)))

    def _release(self, reservation: Reservation) -> None:
        with self._lock:
            if reservation in self._held:
                self._held.remove(reservation)


def _sum(items: Iterable[MemoryItem], is_device: bool) -> int:
    return sum(item.predicted_bytes for item in items if item.is_device is is_device)


def _real(held: Reservation, is_device: bool) -> int:
    measured = held.measured(is_device)
    return held.predicted(is_device) if measured is None else measured


def _itemised(items: Iterable[MemoryItem], is_device: bool) -> str:
    return ', '.join(f'{item.name} {size_text(item.predicted_bytes)}' for item in items
                     if item.is_device is is_device)
