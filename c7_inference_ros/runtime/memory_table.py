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

"""A memory account as rows, and for people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Sequence


@dataclass(frozen=True)
class BudgetRow:
    """
    One line of the account.

    :param name: the model, or ``total``.
    :param place: ``device`` or ``host``.
    :param predicted_bytes: known before anything was allocated.
    :param measured_bytes: what it really took; None where not measured.
    :param limit_bytes: the budget, in the line of the total.
    :param items: what the prediction is made of, for people.
    """

    name: str
    place: str
    predicted_bytes: int
    measured_bytes: int | None = None
    limit_bytes: int | None = None
    items: str = ''


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    return f'{size} bytes' if abs(size) < 1 << 20 else f'{size / (1 << 20):.1f} MiB'


def format_table(rows: Sequence[BudgetRow]) -> list[str]:
    """Return the rows of a memory account as aligned lines for a log."""
    header = ('model', 'place', 'predicted', 'measured', 'budget', 'made of')
    cells = [header] + [
        (row.name, row.place, size_text(row.predicted_bytes),
         '-' if row.measured_bytes is None else size_text(row.measured_bytes),
         '' if row.limit_bytes is None else size_text(row.limit_bytes), row.items)
        for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(header))]
    return ['  '.join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()
            for line in cells]
