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

"""Files of a planted tree held in memory, each of which can fail: a day of polls in a minute."""

import errno
import os

ERRNOS = (errno.ENOENT, errno.EAGAIN, errno.EACCES, errno.EIO, errno.EINVAL, errno.ENODATA,
          errno.ENODEV, errno.ETIMEDOUT)
#: What a driver may write instead of a number.
NO_NUMBERS = (b'', b'\n', b'\0\0\0\0', b'\xff\xfe45000\n', b'45000 41000\n', b'nan\n',
              b'0x2a\n', b'4' * 5000, b'--1\n', b'4.5e4\n')
#: Numbers that are no temperature.
NO_TEMPERATURES = (b'99999999\n', b'-274000\n', b'127000\n', b'-2147483648\n')


LISTDIR = os.listdir


class Cell:
    """
    One file.

    :param content: bytes, or the errno that it answers with.
    """

    __slots__ = ('content', 'fault')

    def __init__(self, content):
        self.content = content
        self.fault = None  # bytes, an errno, or a callable that is called before the content

    @property
    def is_readable(self):
        """Return whether reading it gives what it should."""
        return self.fault is None and isinstance(self.content, bytes)

    def write(self, value):
        """Set the content to a number or a word."""
        self.content = b'%d\n' % value if isinstance(value, int) else f'{value}\n'.encode()


class MemoryFiles:
    """
    Reads files like ``read_attribute``, each from the disk only once.

    :param read_bytes: reads one file of the tree.
    """

    def __init__(self, read_bytes):
        self._read_bytes = read_bytes
        self._by_real = {}
        self._by_path = {}
        self._listings = {}
        self.asked = set()  # paths that were read; None when nobody wants to know

    def __call__(self, path):
        """Return the bytes, or raise what the kernel would."""
        cell = self._by_path.get(path) or self.cell(path)
        if self.asked is not None:
            self.asked.add(path)
        answer = cell.fault
        if answer is None:
            answer = cell.content
        elif callable(answer):
            answer()
            answer = cell.content
        if isinstance(answer, int):
            raise OSError(answer, os.strerror(answer), path)
        return answer

    def listdir(self, path):
        """Return the entries of a folder, looked up once for each change of links."""
        known = self._listings.get(path)
        if known is None:
            known = self._listings[path] = LISTDIR(path)
        return known

    def cell(self, path):
        """Return the file behind a path; one that does not exist answers ENOENT."""
        path = str(path)
        real = os.path.realpath(path)
        cell = self._by_real.get(real)
        if cell is None:
            try:
                content = self._read_bytes(path)
            except OSError as error:
                content = error.errno
            cell = self._by_real[real] = Cell(content)
        self._by_path[path] = cell
        return cell

    def relink(self, prefix):
        """Forget where paths that begin so lead: a link has changed. What files hold stays."""
        self._listings.clear()
        for path in [path for path in self._by_path if path.startswith(prefix)]:
            del self._by_path[path]
