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

"""The folder of one replay: marked until everything in it is whole."""

from __future__ import annotations

from contextlib import contextmanager
import os
from pathlib import Path
import shutil
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.engines.atomic_file import fsync_folder
from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.vision.labels import Labels

MARKER = 'INCOMPLETE'
REPORT, PAGE, LINES = 'report.json', 'report.html', 'detections.jsonl'
BAG, ANNOTATED = 'detections_bag', 'annotated'
#: What the results were made of, for a run over several bags that goes on.
INPUTS = 'inputs.json'
#: Everything that a replay writes into its folder; nothing else is ever removed there.
NAMES = (MARKER, REPORT, PAGE, LINES, f'{LINES}.part', BAG, f'{BAG}.part', ANNOTATED,
         INPUTS)
_MARKED = ('This replay has not come to its end, or is still at work: what lies in this folder is '
           'not whole.\n')


class ReplayOutputError(C7Error):
    """A result cannot be written."""


class OutputFolder:
    """
    Where the results of one replay go.

    Made by :meth:`begin`, and whole only after :meth:`complete`: until then a file ``INCOMPLETE``
    lies in it, also when the process is killed.

    :param path: the folder.
    """

    def __init__(self, path: Path) -> None:
        """Touch nothing."""
        self.path = path

    def check(self, is_overwriting: bool) -> None:
        """
        Refuse a folder that cannot be taken, before any work is done.

        :param is_overwriting: an earlier replay in it may be replaced.
        :raises ConfigurationError: it is no folder, or something lies in it.
        """
        try:
            names = set(os.listdir(self.path))
        except FileNotFoundError:
            return
        except NotADirectoryError as error:
            raise ConfigurationError(f'--output {self.path} is a file, expected a folder; choose '
                                     f'another name') from error
        except OSError as error:
            raise ConfigurationError(f'--output {self.path} cannot be looked into '
                                     f'({error.strerror}); choose another folder') from error
        if not names:
            return
        if not names & {REPORT, MARKER}:
            raise ConfigurationError(
                f'--output {self.path} has files that no replay wrote ({_some(names)}); choose an '
                f'empty or new folder')
        if not is_overwriting:
            state = 'one that did not end' if MARKER in names else 'its report'
            raise ConfigurationError(
                f'--output {self.path} holds an earlier replay ({state}); choose another folder, '
                f'or replace it with --overwrite')

    def begin(self) -> None:
        """
        Make the folder, remove what an earlier replay left, and mark it.

        :raises ReplayOutputError: it cannot be written.
        """
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            write_atomically(self.path / MARKER, _MARKED.encode(), 0o644)
        for name in NAMES:
            if name != MARKER:
                self.remove(name)

    def remove(self, name: str) -> None:
        """
        Remove one result, if it is there.

        :raises ReplayOutputError: it cannot be removed.
        """
        target = self.path / name
        with writing(target):
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            else:
                target.unlink(missing_ok=True)

    def write(self, name: str, data: bytes) -> None:
        """
        Write one file as a whole.

        :raises ReplayOutputError: it cannot be written.
        """
        with writing(self.path / name):
            write_atomically(self.path / name, data, 0o644)

    def complete(self) -> None:
        """
        Take the mark away; everything is written.

        :raises ReplayOutputError: it cannot be removed.
        """
        self.remove(MARKER)
        with writing(self.path):
            fsync_folder(self.path)

    def leave(self, why: str) -> None:
        """Say in the mark why there is no more; never fails."""
        try:
            write_atomically(self.path / MARKER, f'{_MARKED}{why}\n'.encode(), 0o644)
        except OSError:
            pass  # on a full disk; the mark itself is there


class LinesWriter:
    """
    Writes ``detections.jsonl``; it has its name only when it is whole.

    :param folder: where to.
    :param labels: class names by model.
    :raises ReplayOutputError: it cannot be written.
    """

    def __init__(self, folder: OutputFolder, labels: Mapping[str, Labels]) -> None:
        """Open the file."""
        self.path = folder.path / LINES
        self._part = folder.path / f'{LINES}.part'
        self._labels = labels
        with writing(self.path):
            self._file: Any = open(self._part, 'w', encoding='ascii')

    def __call__(self, result: FrameResult) -> None:
        """
        Write one line.

        :raises ReplayOutputError: it cannot be written.
        """
        with writing(self.path):
            self._file.write(f'{result.line(self._labels[result.model])}\n')

    def complete(self) -> None:
        """
        Give the file its name.

        :raises ReplayOutputError: it cannot be written.
        """
        with writing(self.path):
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self._part, self.path)

    def close(self) -> None:
        """Let go of the file, whole or not; idempotent."""
        try:
            self._file.close()
        except OSError:
            pass  # what is left to write does not fit; the mark says so


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """
    Put what goes wrong while a file is written into words.

    :raises ReplayOutputError: in place of an OSError.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ReplayOutputError(write_problem(error, path)) from error


def _some(names: set[str]) -> str:
    shown = sorted(names)[:3]
    return ', '.join(shown) + (' …' if len(names) > len(shown) else '')
