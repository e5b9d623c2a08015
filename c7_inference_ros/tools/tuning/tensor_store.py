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

"""Raw outputs of a model on the disk, so that each picture is inferred once and decoded often."""

from __future__ import annotations

import errno
import os
import tempfile
from types import TracebackType
from typing import Any
from typing import Mapping

from c7_inference_ros.engines.atomic_file import write_all
from c7_inference_ros.errors import ConfigurationError
import numpy as np
from numpy.typing import NDArray

Tensors = Mapping[str, NDArray[Any]]


class TensorStore:
    """
    Arrays by name, one set for each picture, in a temporary file that has no name.

    A process that is killed leaves nothing behind. A context manager.
    """

    def __init__(self) -> None:
        """Make the file."""
        try:
            self._file = tempfile.TemporaryFile(buffering=0)
        except OSError as error:
            raise ConfigurationError(f'no temporary file can be made in {tempfile.gettempdir()} '
                                     f'({error.strerror}); set TMPDIR to another folder'
                                     ) from error
        self._index: list[dict[str, tuple[np.dtype[Any], tuple[int, ...], int]]] = []
        self.size = 0

    def __enter__(self) -> TensorStore:
        """Return the store."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Give the file back."""
        self._file.close()

    def __len__(self) -> int:
        """Return how many sets there are."""
        return len(self._index)

    def add(self, tensors: Tensors) -> None:
        """
        Keep a copy of some arrays.

        :raises ConfigurationError: the disk is full.
        """
        places = {}
        for name, array in tensors.items():
            data = np.ascontiguousarray(array).reshape(array.shape)
            places[name] = (array.dtype, array.shape, self.size)
            try:
                write_all(self._file.fileno(), data.reshape(-1).view(np.uint8).data)
            except OSError as error:
                why = ('the disk is full' if error.errno in (errno.ENOSPC, errno.EDQUOT)
                       else error.strerror)
                raise ConfigurationError(
                    f'the raw outputs of {len(self)} pictures took {self.size} bytes in '
                    f'{tempfile.gettempdir()} and no more can be kept there: {why}; set TMPDIR to '
                    f'a folder with more room, or take fewer pictures') from error
            self.size += data.nbytes
        self._index.append(places)

    def get(self, number: int) -> dict[str, NDArray[Any]]:
        """Return the arrays of one picture."""
        found: dict[str, NDArray[Any]] = {}
        for name, (dtype, shape, offset) in self._index[number].items():
            size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
            data = os.pread(self._file.fileno(), size, offset)
            found[name] = np.frombuffer(data, dtype).reshape(shape)
        return found
