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

"""Reading sysfs attributes that may be missing, unreadable or garbage, without an exception."""

from __future__ import annotations

import errno
import os
from pathlib import Path
import re
from typing import Callable
from typing import cast
from typing import TypeVar

#: Returns the bytes of one attribute file; raises OSError. Tests inject errors through it.
ReadBytes = Callable[[str], bytes]
T = TypeVar('T')

_INTEGER = re.compile(r'[+-]?[0-9]{1,18}')
#: sysfs gives at most a page; settings below /etc, which are read with them, are longer.
_MAX_BYTES = 65536
_MAX_LABEL = 64
#: What the kernel answers for a hardware block that is switched off: no sensor is broken.
OFF_ERRNOS = frozenset({errno.EAGAIN, errno.EINVAL, errno.ENODATA})
_NEVER_OFF: frozenset[int] = frozenset()


def read_attribute(path: str) -> bytes:
    """
    Return the bytes of one attribute, at most 64 KiB.

    :raises OSError: the kernel's own answer: EAGAIN, EINVAL, ENODATA, EACCES and the like.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(descriptor, _MAX_BYTES)
    finally:
        os.close(descriptor)


class SysfsCache:
    """
    What a source has read that changes at most when hardware or a setting does.

    :param max_age_ns: everything is read anew after this long.
    """

    def __init__(self, max_age_ns: int = 60_000_000_000) -> None:
        """Begin with nothing."""
        self.texts: dict[str, str | None] = {}
        self.listings: dict[str, tuple[str, ...]] = {}
        self.links: dict[str, str | None] = {}
        self.derived: dict[str, object] = {}
        self._max_age_ns = max_age_ns
        self._since_ns: int | None = None
        self._fingerprint: object = None

    def renew(self, now_ns: int, fingerprint: object) -> None:
        """
        Forget everything that is too old, or that belongs to other hardware.

        :param now_ns: the monotonic clock now, nanoseconds.
        :param fingerprint: what changes with the hardware: the entries of a class folder.
        """
        if (self._since_ns is None or fingerprint != self._fingerprint
                or not 0 <= now_ns - self._since_ns <= self._max_age_ns):
            self.texts.clear()
            self.listings.clear()
            self.links.clear()
            self.derived.clear()
            self._since_ns, self._fingerprint = now_ns, fingerprint


class SysfsReader:
    """
    Reads below one root and collects a sentence for everything that could not be read.

    :param root: where sysfs is mounted, or a recorded tree.
    :param read_bytes: reads one file.
    :param cache: keeps what is read as ``constant``; None reads it each time.
    """

    def __init__(self, root: Path | str, read_bytes: ReadBytes = read_attribute,
                 cache: SysfsCache | None = None) -> None:
        """Start without faults."""
        self.root = str(root)
        self.faults: list[str] = []
        self._read_bytes = read_bytes
        self._cache = cache if cache is not None else SysfsCache()
        self._prefix = self.root.rstrip('/') + '/'

    def path(self, relative: str) -> str:
        """Return the full path of an attribute."""
        return self._prefix + relative

    def names(self, relative: str, *, constant: bool = False) -> tuple[str, ...]:
        """
        Return the entries of a folder, unordered; none when it does not exist.

        :param constant: take them from the cache where they are in it.
        """
        if constant and (known := self._cache.listings.get(relative)) is not None:
            return known
        try:
            found = tuple(os.listdir(self.path(relative)))
        except FileNotFoundError:
            found = ()
        except OSError as error:
            self.faults.append(f'{relative} cannot be listed: {_reason(error)}')
            return ()
        if constant:
            self._cache.listings[relative] = found
        return found

    def derived(self, key: str, derive: Callable[[], T]) -> T:
        """
        Return what follows from constants alone, from the cache where it is in it.

        :param key: unique within a source.
        :param derive: reads and computes it; a result with faults is not kept.
        """
        if key in self._cache.derived:
            return cast(T, self._cache.derived[key])
        faults_before = len(self.faults)
        value = derive()
        if len(self.faults) == faults_before:
            self._cache.derived[key] = value
        return value

    def numbered(self, relative: str, prefix: str, *, constant: bool = False) -> tuple[str, ...]:
        """
        Return the entries named ``<prefix><number>``, in the order of their numbers.

        :param constant: as in :meth:`names`.
        """
        matches = ((name, name[len(prefix):]) for name in self.names(relative, constant=constant)
                   if name.startswith(prefix))
        found = [(int(number), name) for name, number in matches
                 if number.isascii() and number.isdigit()]
        return tuple(name for _, name in sorted(found))

    def text(self, relative: str, *, required: bool = False, constant: bool = False,
             off_errnos: frozenset[int] = _NEVER_OFF) -> str | None:
        """
        Return one attribute without surrounding white space.

        :param relative: path below the root.
        :param required: a missing file is a fault too.
        :param constant: take it from the cache where it is in it; what cannot be read is not kept.
        :param off_errnos: errors that are no fault: the hardware behind it is switched off.
        :returns: None when it is missing or, with a fault, unreadable.
        """
        if constant and relative in self._cache.texts:
            return self._cache.texts[relative]
        try:
            raw = self._read_bytes(self.path(relative))
        except FileNotFoundError:
            if constant and not required:
                self._cache.texts[relative] = None
            if required:
                self.faults.append(f'{relative} is missing')
            return None
        except OSError as error:
            if error.errno not in off_errnos:
                self.faults.append(f'{relative} cannot be read: {_reason(error)}')
            return None
        # Garbage stays visible in the message; a number or a known word never has such a byte.
        text = raw.decode('ascii', errors='backslashreplace').strip()
        if constant:
            self._cache.texts[relative] = text
        return text

    def label(self, relative: str) -> str | None:
        """
        Return a name that does not change: one printable line, whatever the file holds.

        :returns: None when it is missing, empty or, with a fault, unreadable.
        """
        text = self.text(relative, constant=True)
        if not text:
            return None
        return (text if text.isprintable() else ascii(text)[1:-1])[:_MAX_LABEL]

    def strings(self, relative: str) -> tuple[str, ...]:
        """Return a device tree property that does not change: strings that each end in NUL."""
        text = self.text(relative, constant=True) or ''
        return tuple(part for part in text.split('\0') if part)

    def integer(self, relative: str, *, required: bool = False, constant: bool = False,
                off_errnos: frozenset[int] = _NEVER_OFF) -> int | None:
        """
        Return one attribute as a whole number.

        :param relative: path below the root.
        :param required: a missing file is a fault too.
        :param constant: as in :meth:`text`.
        :param off_errnos: as in :meth:`text`; an empty file is no fault then either.
        :returns: None when it is missing or, with a fault, unreadable or not a number.
        """
        text = self.text(relative, required=required, constant=constant, off_errnos=off_errnos)
        if text is None or (off_errnos and not text):
            return None
        if not _INTEGER.fullmatch(text):
            found = 'nothing' if not text else repr(text[:40])
            self.faults.append(f'{relative} holds {found}, expected a whole number')
            return None
        return int(text)

    def summarise_faults(self, since: int) -> None:
        """
        Keep the first of many faults of one kind, with their number.

        :param since: length of ``faults`` before the readings of that kind began.
        """
        more = len(self.faults) - since - 1
        if more > 0:
            self.faults[since:] = [f'{self.faults[since]} (and {more} more like it)']

    def link_name(self, relative: str) -> str | None:
        """Return the name of what a symbolic link leads to, None when it is not a link."""
        if relative not in self._cache.links:
            path = self.path(relative)
            self._cache.links[relative] = (
                os.path.basename(os.path.realpath(path)) if os.path.islink(path) else None)
        return self._cache.links[relative]


class UniqueNames:
    """Gives every sensor its own name: the second ``acpitz`` becomes ``acpitz#2``."""

    def __init__(self) -> None:
        """Start with no name taken."""
        self._taken: set[str] = set()

    def take(self, name: str) -> str:
        """Return the name, or the name with the first free number."""
        unique, number = name, 1
        while unique in self._taken:
            number += 1
            unique = f'{name}#{number}'
        self._taken.add(unique)
        return unique


def _reason(error: OSError) -> str:
    code = errno.errorcode.get(error.errno, str(error.errno)) if error.errno else 'no errno'
    return f'{error.strerror or error} ({code})'
