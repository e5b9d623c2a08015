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

"""Where a machine is looked at: its file system, environment and programs, each replaceable."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import os
from pathlib import Path
import resource
import shutil
import subprocess
import sys
import sysconfig
from typing import Any
from typing import Callable
from typing import Mapping

from c7_inference_ros.tools.machine.libraries import ask_library
from c7_inference_ros.tools.machine.libraries import Library


def _limit(name: str) -> int | None:
    """Return a soft limit of this process; None for none."""
    value = resource.getrlimit(getattr(resource, name))[0]
    return None if value == resource.RLIM_INFINITY else value


def _disk_bytes(path: Path) -> tuple[int, int] | None:
    """Return (size, free) of the file system at a path; None where it cannot be told."""
    try:
        found = os.statvfs(path)
    except OSError:
        return None
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


@dataclass(frozen=True)
class Surroundings:
    """
    Everything that the examination reads.

    :param root: stands for ``/``.
    :param environ: environment variables.
    :param run: starts nvidia-smi and nvcc; as :func:`subprocess.run`.
    :param which: finds a program.
    :param ask: loads a library in a process of its own and says what it is.
    :param limit: soft limit of the process by its name in :mod:`resource`, None for none.
    :param disk_bytes: (size, free) of the file system at a path.
    :param user: number of the user.
    :param python: the interpreter that the libraries belong to.
    :param prefix: where that interpreter lives.
    :param is_managed: whether pip refuses to install into that interpreter (PEP 668).
    :param timeout_s: longest wait for one library or program.
    """

    root: Path = Path('/')
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    run: Callable[..., Any] = subprocess.run
    which: Callable[[str], str | None] = shutil.which
    ask: Callable[..., Library] = ask_library
    limit: Callable[[str], int | None] = _limit
    disk_bytes: Callable[[Path], tuple[int, int] | None] = _disk_bytes
    user: int = field(default_factory=os.geteuid)
    python: str = sys.executable or 'python3'
    prefix: str = sys.prefix
    is_managed: bool = field(default_factory=lambda: _is_managed())
    timeout_s: float = 20.0

    def text(self, path: str) -> str | None:
        """Return the text of a file below the root; None where it cannot be read."""
        try:
            data = (self.root / path).read_bytes()
        except (OSError, ValueError):
            return None
        return data.decode('utf-8', 'replace')

    def word(self, path: str) -> str:
        """Return the text of a file of the kernel, without the zero bytes of a device tree."""
        return ' '.join((self.text(path) or '').replace('\0', ' ').split())

    def number(self, path: str) -> int | None:
        """Return the number in a file; None where there is none."""
        words = (self.text(path) or '').split()
        return int(words[0]) if words and words[0].isdigit() else None

    def command_output(self, *command: str) -> str | None:
        """Return what a program prints; None where it is missing, fails or hangs."""
        try:
            done = self.run(list(command), capture_output=True, text=True, errors='replace',
                            check=False, timeout=self.timeout_s)
        except (OSError, subprocess.SubprocessError):
            return None
        return None if done.returncode else str(done.stdout)


def _is_managed() -> bool:
    if sys.prefix != sys.base_prefix:
        return False  # a virtual environment
    return (Path(sysconfig.get_path('stdlib')) / 'EXTERNALLY-MANAGED').exists()
