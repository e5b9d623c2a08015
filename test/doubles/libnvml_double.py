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
A ``libnvidia-ml.so.1`` over simulated GPUs, which the real pynvml loads through ctypes.

It is a real shared library, compiled from ``libnvml_double.c`` when it is first needed. What its
GPUs say is set from here; how it says it (structures, versions, return codes) is the C file.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import os
from pathlib import Path
import shutil
import subprocess
import tempfile
from typing import Any
from typing import Iterator

import pytest

#: Compiler flags by generation of the driver: 470 is before 535, 'next' is what NVML announces.
GENERATIONS = {'470': ('-DNVML_OLD',), '580': (), 'next': ('-DNVML_NEXT',)}
SONAME = 'libnvidia-ml.so.1'

(SUCCESS, UNINITIALIZED, INVALID_ARGUMENT, NOT_SUPPORTED, NO_PERMISSION, INSUFFICIENT_SIZE,
 DRIVER_NOT_LOADED, FUNCTION_NOT_FOUND, GPU_IS_LOST, RESET_REQUIRED, UNKNOWN) = (
     0, 1, 2, 3, 4, 7, 9, 13, 15, 16, 999)
SHUTDOWN, SLOWDOWN, MEMORY_MAX, GPU_MAX, TARGET = 0, 1, 2, 3, 5
POWER, THERMAL = 0, 1
IDLE, APPLICATION_CLOCKS, POWER_CAP, HW_SLOWDOWN, SYNC_BOOST, SW_THERMAL, HW_THERMAL, BRAKE = (
    1 << bit for bit in range(8))
UNSIGNED, UNSIGNED_LONG_LONG, SIGNED = 1, 3, 5


@functools.cache
def compiled(generation: str) -> Path:
    """Compile the library once; the test is skipped where there is no C compiler."""
    compiler = shutil.which(os.environ.get('CC', 'cc')) or shutil.which('gcc')
    if compiler is None:
        pytest.skip('no C compiler (cc, gcc) is here to make the NVML double')
    folder = tempfile.mkdtemp(prefix='libnvml_double_')
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    path = Path(folder) / SONAME
    subprocess.run([compiler, '-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-pthread',
                    f'-Wl,-soname,{SONAME}', *GENERATIONS[generation], '-o', str(path),
                    str(Path(__file__).with_suffix('.c'))], check=True)
    return path


class NvmlGpu:
    """One simulated GPU; a cool and idle one with everything that NVML offers, at first."""

    def __init__(self, library: ctypes.CDLL, index: int, name: str, uuid: str) -> None:
        """Make it present."""
        self._library = library
        self.index = index
        self.text(name=name, uuid=uuid)
        self.say(present=1, celsius=45, margin=48, load_gpu=30, load_memory=10, milliwatts=120_500,
                 limit_milliwatts=350_000, performance_state=2, persistence=1, reasons=IDLE)
        for threshold in range(8):
            self.say(threshold, threshold=-1)
        for threshold, celsius in ((SHUTDOWN, 98), (SLOWDOWN, 95), (GPU_MAX, 93), (TARGET, 83)):
            self.say(threshold, threshold=celsius)
        for kind, now, most in ((0, 1200, 2100), (1, 1210, 2100), (2, 9501, 9751)):
            self.say(kind, clock=now, max_clock=most, application_clock=-1)

    def say(self, item: int = 0, **numbers: int) -> None:
        """
        Set what it says.

        :param item: which threshold, clock or policy; the others have one value.
        """
        for key, number in numbers.items():
            assert self._library.double_number(self.index, key.encode(), item,
                                               ctypes.c_longlong(number)) == 0, key

    def text(self, item: int = 0, **texts: str) -> None:
        """Set its name, its UUID or the UUID of a part (MIG)."""
        for key, text in texts.items():
            assert self._library.double_text(self.index, key.encode(), item, text.encode()) == 0

    def field(self, field: int, number: int, kind: int = UNSIGNED, code: int = SUCCESS) -> None:
        """Set a field value of a type, or the code that stands in its place."""
        self._library.double_field(self.index, field, kind, ctypes.c_longlong(number), code)

    def answer(self, code: int, *functions: str) -> None:
        """Set the return code of functions, of all where none is named."""
        for function in functions or (None,):
            self._library.double_code(self.index, function.encode() if function else None, code)


class LibnvmlDouble:
    """
    The library for some GPUs.

    Each object is a copy of its own of the file, because a shared library is loaded once by path.

    :param generation: of the driver.
    """

    def __init__(self, generation: str = '580') -> None:
        """Load a copy; it has no GPU yet."""
        self._folder = tempfile.TemporaryDirectory(prefix='libnvml_double_')
        self.path = Path(shutil.copy(compiled(generation), self._folder.name))
        self._library = ctypes.CDLL(str(self.path))
        self._library.double_reset()
        self._count = 0
        self.is_installed = True

    def add(self, name: str = 'NVIDIA GeForce RTX 3090',
            uuid: str = 'GPU-11111111-2222-3333-4444-555555555555') -> NvmlGpu:
        """Add a GPU; it is seen by the next initialisation."""
        self._count += 1
        return NvmlGpu(self._library, self._count - 1, name, uuid)

    def answer(self, code: int, function: str) -> None:
        """Set the return code of a function, whichever GPU it is about."""
        self._library.double_code(-1, function.encode(), code)

    def slow(self, function: str, milliseconds: int) -> None:
        """Make a function take that long."""
        self._library.double_latency(function.encode(), milliseconds)

    @contextlib.contextmanager
    def hung(self, function: str) -> Iterator[None]:
        """Let a function hang, until the end of the block."""
        self._library.double_block(function.encode(), 1)
        try:
            yield
        finally:
            self._library.double_block(function.encode(), 0)

    @property
    def waiting(self) -> int:
        """Return how many calls hang."""
        return int(self._library.double_waiting())

    def calls(self, function: str) -> int:
        """Return how often a function was called."""
        return int(self._library.double_calls(function.encode()))

    @property
    def references(self) -> int:
        """Return how many initialisations were not undone."""
        return int(self._library.double_references())

    @property
    def starts(self) -> int:
        """Return how many initialisations succeeded."""
        return int(self._library.double_starts())

    def size(self, structure: str) -> int:
        """Return the size of a structure in bytes."""
        return int(self._library.double_size(structure.encode()))

    def load(self, name: str, *arguments: Any, **named: Any) -> ctypes.CDLL:
        """Load it in place of ``ctypes.CDLL``; not found when it is not installed."""
        if name != SONAME or not self.is_installed:
            raise OSError(f'{name}: cannot open shared object file: No such file or directory')
        return ctypes.CDLL(str(self.path), *arguments, **named)

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Let pynvml load this library, and forget which one it has loaded before."""
        pynvml = pytest.importorskip('pynvml', reason='pynvml (nvidia-ml-py) is not installed')
        monkeypatch.setattr(pynvml, 'CDLL', self.load)
        monkeypatch.setattr(pynvml, 'nvmlLib', None)
        monkeypatch.setattr(pynvml, '_nvmlLib_refcount', 0)
        monkeypatch.setattr(pynvml, '_nvmlGetFunctionPointer_cache', {})
