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
Writes a bag (mcap) that appears whole or not at all.

It grows as ``<folder>.part`` with a file in it that says that it is incomplete, reaches the disk,
and takes its name in one step. It holds the definitions of its messages and what quality of
service a player offers, so that ``ros2 bag play`` and Foxglove open it.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import suppress
import os
from pathlib import Path
import shutil
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.engines.atomic_file import fsync_folder
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.errors import BagError
from c7_inference_ros.tools.bags.images import one_line
from c7_inference_ros.tools.bags.storage import INCOMPLETE
from c7_inference_ros.tools.bags.storage import is_bag
from c7_inference_ros.tools.bags.types import LATCHED_TYPES
from c7_inference_ros.tools.bags.types import qos
from c7_inference_ros.tools.bags.types import require_rosbags
from c7_inference_ros.tools.bags.types import typestore

#: Read by ROS 2 Humble as well as by later ones, which changed how quality of service is written.
_VERSION: Any = 8


class BagWriter:
    """
    Writes messages in the order in which they are given; used with ``with``.

    An exception in the block leaves what was written as ``<folder>.part``, marked.

    :param folder: of the bag.
    :param topics: message type by topic; latched where it is of an info.
    :param replace: replace a bag that is there, once the new one is whole.
    :raises BagError: the folder is there already, or cannot be written.
    :raises RuntimeNotAvailableError: rosbags is not installed.
    """

    def __init__(self, folder: Path, topics: Mapping[str, str], replace: bool = False) -> None:
        """Begin the partial bag."""
        require_rosbags(f'{folder} cannot be written')
        from rosbags.rosbag2 import StoragePlugin
        from rosbags.rosbag2 import Writer
        self.folder = folder
        self.part = folder.with_name(f'{folder.name}.part')
        #: The file is named after its folder, which must therefore have the final name already.
        self._made = self.part / folder.name
        self._types = dict(topics)
        self._written = 0
        self._is_open = False
        _check_free(folder, replace)
        with self._or_abort():
            _remove_leftover(self.part, self._made)
            self.part.mkdir()
            self._writer = Writer(self._made, version=_VERSION,
                                  storage_plugin=StoragePlugin.MCAP)
            self._writer.open()
            self._is_open = True
            (self._made / INCOMPLETE).write_text(
                'This bag is not finished: it is being written, or its writing was '
                'interrupted.\n', encoding='utf-8')
            self._connections = {
                topic: self._writer.add_connection(
                    topic, kind, typestore=typestore(), offered_qos_profiles=[
                        qos(1, True) if kind in LATCHED_TYPES else qos(10)])
                for topic, kind in self._types.items()}

    def __enter__(self) -> BagWriter:
        """Return the writer."""
        return self

    def __exit__(self, kind: Any, error: BaseException | None, _: Any) -> None:
        """Finish the bag, or leave it marked after an exception."""
        if not self._is_open:
            return
        if error is None:
            self.finish()
        else:
            self._abort(error)

    def __len__(self) -> int:
        """Return how many messages were written."""
        return self._written

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """
        Write a message of the types of :func:`~.types.typestore`.

        :param log_ns: when it was recorded, in ns.
        :raises BagError: the bag cannot be written.
        """
        self.write_raw(topic, log_ns, typestore().serialize_cdr(message, self._types[topic]))

    def write_raw(self, topic: str, log_ns: int, raw: bytes | memoryview) -> None:
        """Write a serialised message; see :meth:`write`."""
        if not self._is_open:
            raise BagError(f'{self.folder} is not open for writing any more; write it again')
        with self._or_abort():
            self._writer.write(self._connections[topic], log_ns, raw)
        self._written += 1

    def finish(self) -> None:
        """
        Give the bag its name.

        :raises BagError: the bag cannot be written.
        """
        with self._or_abort():
            self._writer.close()
            for path in self._made.iterdir():
                with path.open('rb') as stream:
                    os.fsync(stream.fileno())
            fsync_folder(self._made)
            (self._made / INCOMPLETE).unlink()
            if self.folder.exists():
                os.replace(self.folder, self.part / 'replaced')
            os.replace(self._made, self.folder)
            self._is_open = False
            fsync_folder(self.folder.parent)
            shutil.rmtree(self.part, ignore_errors=True)

    @contextmanager
    def _or_abort(self) -> Iterator[None]:
        """Leave a marked partial bag whatever happens, and say what the system says."""
        try:
            yield
        except OSError as error:
            self._abort(error)
            left = f'; what was written until then is {self.part}' if self.part.exists() else ''
            raise BagError(f'{write_problem(error, self.folder)}{left}') from error
        except BaseException as error:
            self._abort(error)
            raise

    def _abort(self, error: BaseException) -> None:
        if not self._is_open:
            return
        self._is_open = False
        with suppress(Exception):
            self._writer.abort()
        # On a full disk the words that are there already must do.
        with suppress(OSError):
            with (self._made / INCOMPLETE).open('a', encoding='utf-8') as stream:
                stream.write(f'{type(error).__name__}: {one_line(error)}\n')


def _check_free(folder: Path, replace: bool) -> None:
    if not (folder.exists() or folder.is_symlink()):
        return
    if not replace:
        raise BagError(f'{folder} is there already; remove it, or choose another name')
    if folder.is_symlink() or not (folder.is_dir() and is_bag(folder)):
        raise BagError(f'{folder} is there and is no bag; move it away, or choose another name')


def _remove_leftover(part: Path, made: Path) -> None:
    """Remove what an interrupted writer of the same bag left, and nothing else."""
    if not part.exists():
        return
    inside = list(part.iterdir())
    if inside and (inside != [made] or is_bag(made)):
        raise BagError(f'{part} is there and was not left by the writing of a bag; move it away')
    shutil.rmtree(part)
