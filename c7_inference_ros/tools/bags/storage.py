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
The files of a bag: found, looked at for what recorders leave behind that die, and opened.

A bag that was cut off is told from its own marks before a message of it is read, because some of
them would open and end early.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from pathlib import PurePath
import shutil
import struct
import sys
from tempfile import TemporaryDirectory
from threading import Lock
from typing import Any
from typing import Iterator

from c7_inference_ros.errors import BagError
from c7_inference_ros.tools.bags.images import one_line
from c7_inference_ros.tools.bags.types import require_rosbags

STORAGES = ('sqlite3', 'mcap')
#: What a writer of this package leaves in a bag that it could not finish.
INCOMPLETE = 'INCOMPLETE.txt'
_METADATA = 'metadata.yaml'
_FILES = {'.mcap': 'mcap', '.db3': 'sqlite3', '.bag': 'rosbag1'}
_MCAP_MARK = b'\x89MCAP0\r\n'
_SQLITE_MARK = b'SQLite format 3\x00'
#: One bag is opened at a time, so that it is known which connections belong to it.
_opening = Lock()
_ZSTD_MARK = b'\x28\xb5\x2f\xfd'


@dataclass
class Storage:
    """
    An opened bag.

    :param reader: of rosbags.
    :param kind: ``sqlite3``, ``mcap`` or ``rosbag1``.
    :param compression: ``file``, ``message`` or empty.
    :param files: what it consists of.
    """

    reader: Any
    kind: str
    compression: str
    files: tuple[Path, ...]
    stack: ExitStack = field(repr=False)


def open_storage(path: Path) -> Storage:
    """
    Open a folder of rosbag2, one file of it, or a bag of ROS 1.

    :raises BagError: it cannot be read; the line says why, and what helps.
    :raises RuntimeNotAvailableError: rosbags is not installed.
    """
    require_rosbags(f'{path} cannot be read')
    if path.name == _METADATA and path.is_file():
        path = path.parent
    with ExitStack() as stack:
        with _readable(path):
            if path.is_dir():
                storage = _open_folder(path, stack)
            else:
                storage = _open_file(path, stack)
            _enter(storage.reader, stack)
        storage.stack = stack.pop_all()
    return storage


def is_bag(path: Path) -> bool:
    """Return whether a path looks like a bag: its folder, or a file of a kind that is read."""
    if path.is_dir():
        return (path / _METADATA).is_file() and not (path / INCOMPLETE).is_file()
    return path.is_file() and _suffix(path) in _FILES


def refuse(path: Path, reason: str) -> BagError:
    """Return the error of a bag that cannot be read."""
    return BagError(f'{path} cannot be read as a rosbag: {reason}')


def decompressed(raw: bytes) -> bytes:
    """
    Return a message as it was before its recorder compressed it.

    :raises Exception: of any kind, when its data are broken.
    """
    return _zstd().decompress(raw) if is_compressed(raw) else raw


def is_compressed(raw: bytes) -> bool:
    """Return whether a message of ROS 2 is compressed; none begins so otherwise."""
    return raw[:4] == _ZSTD_MARK


def _open_folder(path: Path, stack: ExitStack) -> Storage:
    from rosbags.rosbag2 import Reader
    if (path / INCOMPLETE).is_file() or list(path.glob(f'*/{INCOMPLETE}')):
        raise refuse(path, 'its writing was interrupted; write it again')
    if not (path / _METADATA).is_file():
        raise refuse(path, _why_no_metadata(path))
    kind, compression, names = _metadata(path)
    if kind not in STORAGES:
        raise refuse(path, f'its storage is {kind!r}, expected {" or ".join(STORAGES)}; convert '
                           f'it with: ros2 bag convert')
    files = tuple(path / PurePath(name).name for name in names)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise refuse(path, f'{", ".join(missing[:3])} of its {len(files)} files '
                           f'{"is" if len(missing) == 1 else "are"} missing; copy the whole '
                           f'folder, or write {_METADATA} anew with: ros2 bag reindex {path}')
    if compression != 'file':
        for file in files:
            _check_whole(file, kind, path)
    reader = Reader(path)
    return Storage(reader, kind, compression, files, stack)


def _open_file(path: Path, stack: ExitStack) -> Storage:
    if not path.exists():
        raise refuse(path, 'it is not there; correct the path')
    kind = _FILES.get(_suffix(path), '')
    if not kind:
        raise refuse(path, f'it ends in {path.suffix or "nothing"!r}, expected a folder with '
                           f'{_METADATA}, or a file that ends in {", ".join(_FILES)} (.zstd); '
                           f'correct the path')
    plain, compression = path, ''
    if path.suffix == '.zstd':
        plain, compression = Path(stack.enter_context(TemporaryDirectory())) / path.stem, 'file'
        with path.open('rb') as packed, _zstd().open(packed, 'rb') as source:
            with plain.open('wb') as target:
                shutil.copyfileobj(source, target)
    _check_whole(plain, kind, path)
    if kind == 'rosbag1':
        from rosbags.rosbag1 import Reader as Reader1
        return Storage(Reader1(plain), kind, compression, (path,), stack)
    from rosbags.rosbag2 import Reader
    return Storage(Reader(plain), kind, compression, (path,), stack)


def _enter(reader: Any, stack: ExitStack) -> None:
    """Open a reader, and close the second connection that it makes to a database and forgets."""
    try:
        import apsw
    except ImportError:
        stack.enter_context(reader)
        return
    with _opening:
        before = {id(one) for one in apsw.connections()}
        try:
            stack.enter_context(reader)
        finally:
            storage: Any = getattr(reader, 'storage', None)
            used = {id(getattr(one, 'dbconn', None))
                    for one in (storage, *getattr(storage, 'storages', ()))}
            for connection in apsw.connections():
                if id(connection) not in before | used:
                    connection.close()


def _why_no_metadata(path: Path) -> str:
    recorded = sorted(file.name for file in path.iterdir() if _suffix(file) in _FILES)
    if [name for name in recorded if name.endswith('.bag')]:
        return f'it is a folder; give one of its files: {", ".join(recorded[:5])}'
    if recorded:
        return (f'{_METADATA} is missing, as after a recording that was killed; write it with: '
                f'ros2 bag reindex {path}')
    inside = sorted(folder.name for folder in path.iterdir() if is_bag(folder))
    if inside:
        return f'it holds several bags; give one of them: {", ".join(inside[:5])}'
    return f'the folder holds no {_METADATA} and no recorded file; correct the path'


def _metadata(path: Path) -> tuple[str, str, list[str]]:
    """Return storage, compression and file names as metadata.yaml has them."""
    import yaml
    try:
        found = yaml.safe_load((path / _METADATA).read_text(encoding='utf-8'))
        info = found['rosbag2_bagfile_information']
        compression = str(info.get('compression_mode') or '').lower()
        return (str(info['storage_identifier']), '' if compression == 'none' else compression,
                [str(name) for name in info['relative_file_paths']])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        reason = f'no {error}' if isinstance(error, KeyError) else one_line(error)
        raise refuse(path, f'its {_METADATA} makes no sense ({reason}); write it anew with: '
                           f'ros2 bag reindex {path}') from error


def _check_whole(file: Path, kind: str, path: Path) -> None:
    """Refuse what does not begin or end as its kind does."""
    size = file.stat().st_size
    name = file.name if file.parent == path else 'it'
    if not size:
        raise refuse(path, f'{name} is empty; record it again')
    with file.open('rb') as stream:
        start = stream.read(100)
        stream.seek(max(0, size - len(_MCAP_MARK)))
        end = stream.read()
    mark = {'mcap': _MCAP_MARK, 'sqlite3': _SQLITE_MARK, 'rosbag1': b'#ROSBAG V'}[kind]
    if not start.startswith(mark):
        if start and mark.startswith(start):
            raise refuse(path, f'{name} was cut off after {size} bytes; record it again')
        raise refuse(path, f'{name} does not begin as a file of {kind} does; correct the path')
    if kind == 'mcap' and (end != _MCAP_MARK or size <= len(_MCAP_MARK)):
        raise refuse(path, f'{name} was cut off: it has no end, as after a recording that was '
                           f'killed; save what is whole with: mcap recover {file.name} -o '
                           f'whole.mcap')
    if kind == 'sqlite3':
        whole = _sqlite_size(start)
        if size < whole:
            raise refuse(path, f'{name} was cut off: it has {size} bytes, expected {whole}; copy '
                               f'it again, or save what is whole with: sqlite3 {file.name} '
                               f'.recover | sqlite3 whole.db3')
        for rest in (file.with_name(f'{file.name}-wal'), file.with_name(f'{file.name}-journal')):
            if rest.is_file() and rest.stat().st_size:
                raise refuse(path, f'{rest.name} holds messages that are not in {name} yet, as '
                                   f'after a recording that was killed; bring them in with: '
                                   f'sqlite3 {file.name} "PRAGMA wal_checkpoint(TRUNCATE)"')
    if kind == 'rosbag1' and b'index_pos=' in start:
        index, = struct.unpack_from('<Q', start.ljust(300, b'\0'), start.index(b'index_pos=') + 10)
        if not index or index > size:
            raise refuse(path, f'{name} was cut off, as after a recording that was killed; '
                               f'write its index with: rosbag reindex {file.name}')


def _sqlite_size(start: bytes) -> int:
    """Return how many bytes a database has by its own header; 0 where it does not tell."""
    if len(start) < 100:
        return 100
    page, = struct.unpack_from('>H', start, 16)
    changes, pages, valid_for = (struct.unpack_from('>I', start, at)[0] for at in (24, 28, 92))
    return (65536 if page == 1 else page) * pages if changes == valid_for else 0


def _suffix(path: Path) -> str:
    """Return what tells the kind of a file, without the mark of compression."""
    return Path(path.stem).suffix if path.suffix == '.zstd' else path.suffix


def _zstd() -> Any:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    return zstd


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Turn whatever rosbags and the system raise into one line."""
    try:
        yield
    except BagError:
        raise
    except PermissionError as error:
        raise refuse(path, 'this user may not read it; correct its permissions') from error
    except EOFError as error:
        raise refuse(path, 'its compressed data were cut off; copy it again') from error
    except OSError as error:
        where = f' ({error.filename})' if error.filename else ''
        raise refuse(path, f'{error.strerror or one_line(error)}{where}; correct the path, or '
                           f'free space where temporary files go') from error
    except Exception as error:
        reason = one_line(error).replace('; please report issue.', '')
        if 'damaged' in reason:
            reason = f'its index is damaged or was cut off ({reason})'
        raise refuse(path, f'{reason}; copy or record it again') from error
