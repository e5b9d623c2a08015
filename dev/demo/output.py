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

"""The folder that a run leaves, and who may write it."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
import shutil
from typing import Iterator

from demo.errors import DemoError

#: Everything that a run writes; nothing else is ever removed.
FILES = ('annotated.mp4', 'bag', 'contact_sheet.png', 'latency.png', 'node.log', 'params.yaml',
         'summary.json')


def fresh_folder(folder: Path) -> None:
    """
    Make an empty folder, removing what an earlier run left there.

    :raises DemoError: when the folder holds anything that no run wrote.
    """
    if folder.exists():
        if not folder.is_dir():
            raise DemoError(f'--output {folder} is a file, expected a folder', exit_code=2)
        foreign = sorted(path.name for path in folder.iterdir() if not _is_ours(path.name))
        if foreign:
            raise DemoError(f'--output {folder} holds {foreign[0]}, which no demo wrote; name a '
                            f'new folder with --output', exit_code=2)
        # The summary first: whatever is interrupted, no earlier result passes for a new one.
        (folder / 'summary.json').unlink(missing_ok=True)
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DemoError(f'--output {folder} cannot be made ({error.strerror}); name another '
                        f'folder with --output', exit_code=2) from error


@contextlib.contextmanager
def only_run(folder: Path, locks: Path) -> Iterator[None]:
    """
    Keep a second run away from the same output folder.

    :param locks: folder for lock files.
    :raises DemoError: while another run holds it.
    """
    locks.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
    with open(locks / f'{name}.lock', 'a+') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise DemoError(f'another demo (process {lock.read().strip() or "unknown"}) writes '
                            f'{folder}; wait for it, or name another folder with --output'
                            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def _is_ours(name: str) -> bool:
    return name in FILES or (name.startswith('.') and name.endswith(('.part', '.part.mp4',
                                                                     '.part.png')))
