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

"""What people read while the demo runs."""

from __future__ import annotations

import sys
from typing import TextIO


class Terminal:
    """
    Prints one short line for each step.

    :param steps: number of steps.
    :param output: where to; standard error where standard output is for a machine.
    """

    def __init__(self, steps: int, output: TextIO) -> None:
        """Begin before the first step."""
        self.output = output
        self._steps = steps
        self._step = 0

    def step(self, name: str, text: str) -> None:
        """Print the line of the next step."""
        self._step += 1
        self.line(f'[{self._step}/{self._steps}] {name:<9} {text}')

    def more(self, text: str) -> None:
        """Print a further line of the same step."""
        self.line(f'{"":<16}{text}')

    def line(self, text: str = '') -> None:
        """Print a line as it is."""
        print(text, file=self.output, flush=True)

    def progress(self, total: int):
        """Return a progress bar; on something that is no terminal it prints nothing."""
        from tqdm import tqdm
        return tqdm(total=total, desc=f'[{self._step}/{self._steps}] play     ', unit=' frames',
                    file=self.output, disable=not self.output.isatty(), leave=False, nrows=24,
                    bar_format='{desc} {percentage:3.0f}% |{bar}| {n}/{total} sent{postfix} '
                               '[{elapsed}<{remaining}]')


def warn(text: str) -> None:
    """Print a line on standard error."""
    print(text, file=sys.stderr, flush=True)
