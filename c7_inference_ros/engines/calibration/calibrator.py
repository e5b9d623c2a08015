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
Implicit INT8 calibration: the calibrator of TensorRT 10.x behind the trust gate.

The bindings turn every exception of a calibrator's methods into "no more data", and TensorRT
builds an engine from what it got till then. So everything that goes wrong is kept here, and the
build is failed when the block ends.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
import logging
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Mapping
from typing import Protocol
from typing import Sequence

from c7_inference_ros.engines.calibration.calibration_cache import CalibrationCache
from c7_inference_ros.engines.calibration.calibration_table import CalibrationTable
from c7_inference_ros.errors import CalibrationCacheError
import numpy as np
from numpy.typing import NDArray

Batch = Mapping[str, NDArray[Any]]
_log = logging.getLogger(__name__)


class DeviceCopier(Protocol):
    """Puts batches where the GPU reads them; the runtime's CUDA access provides one."""

    def copy(self, name: str, array: NDArray[Any]) -> int:
        """
        Copy one input to the device.

        :param name: of the input; its buffer is used again for the next batch.
        :param array: C-contiguous.
        :returns: device address, valid until the next copy of the same input.
        """

    def free(self) -> None:
        """Give all buffers back; idempotent."""


@dataclass(frozen=True)
class ImplicitDataset:
    """
    The batches of one calibration.

    :param batches: makes an iterator over the batches, in their order.
    :param count: how many there are.
    :param batch_size: images in each of them.
    :param inputs: inputs of the network.
    """

    batches: Callable[[], Iterator[Batch]]
    count: int
    batch_size: int
    inputs: tuple[str, ...]


class CalibrationSession:
    """
    What one calibrator does, without TensorRT's class around it.

    :param dataset: where the batches come from.
    :param cache: the gate; locked by the caller.
    :param copier: puts them on the device.
    :raises CalibrationCacheError: the cache is damaged, or there is nothing to calibrate with.
    """

    def __init__(self, dataset: ImplicitDataset, cache: CalibrationCache[CalibrationTable],
                 copier: DeviceCopier) -> None:
        """Ask the gate; no batch is made before TensorRT asks for one."""
        self.pulled = 0
        self.is_cache_read = False
        self.is_stored = False
        self._dataset = dataset
        self._cache = cache
        self._copier = copier
        self._batches: Iterator[Batch] | None = None
        self._error: BaseException | None = None
        self._checked = cache.check()
        if not self._checked.is_reusable and dataset.count < 1:
            raise CalibrationCacheError(
                'the calibration data set is empty, expected images; give other images')
        _log.info('INT8 calibration %s: %s', 'reused' if self.is_reused else 'needed',
                  self._checked.reason)

    @property
    def is_reused(self) -> bool:
        """Whether TensorRT is given a verified cache and no images."""
        return self._checked.is_reusable

    @property
    def reason(self) -> str:
        """Why it is reused or not."""
        return self._checked.reason

    def get_batch_size(self) -> int:
        """Return the number of images of a batch; TensorRT still asks."""
        return self._dataset.batch_size

    def get_batch(self, names: Sequence[str]) -> list[int] | None:
        """Return device addresses in the order of the names; None ends the calibration."""
        try:
            if self._error is not None:
                return None
            if self.is_reused:
                raise CalibrationCacheError(
                    f'TensorRT asked for images although {self._cache.path} is intact: it did '
                    f'not accept the table; delete the cache and its sidecars to have it made '
                    f'again')
            if self._batches is None:
                self._batches = self._dataset.batches()
            batch = next(self._batches, None)
            if batch is None:
                if self.pulled < self._dataset.count:
                    raise self._short()
                return None
            addresses = [self._copier.copy(name, self._input(batch, name)) for name in names]
            self.pulled += 1
            return addresses
        except BaseException as error:  # noqa: B902, C++ would swallow it; finish raises it
            self._keep(error)
            return None

    def read_calibration_cache(self) -> bytes | None:
        """Return the verified bytes, or None where there are none."""
        self.is_cache_read = True
        return self._checked.data or None

    def write_calibration_cache(self, cache: Any) -> None:
        """Store the table; the memory of it is gone after this call."""
        try:
            data = bytes(cache)
            # After an error TensorRT writes what it made of the batches before it.
            if self._error is None and self.pulled == self._dataset.count:
                self._cache.store(data)
                self.is_stored = True
        except BaseException as error:  # noqa: B902, C++ would swallow it; finish raises it
            self._keep(error)

    def finish(self) -> None:
        """
        Fail where calibration did not do what it looked like.

        :raises CalibrationCacheError: what went wrong.
        """
        self.raise_error()
        if self.is_reused:
            if not self.is_cache_read:
                raise CalibrationCacheError(
                    f'TensorRT never asked for the calibration cache {self._cache.path}, so that '
                    f'the engine is not calibrated; check that the model is built for int8')
        elif self.pulled < self._dataset.count:
            raise self._short()
        elif not self.is_stored:
            raise CalibrationCacheError(
                f'TensorRT took all {self.pulled} batches but wrote no table; look at the errors '
                f'of TensorRT above')

    def raise_error(self) -> None:
        """
        Raise the first thing that went wrong inside TensorRT's calls, if anything did.

        :raises CalibrationCacheError: it, or with it as the cause.
        """
        error = self._error
        if error is None:
            return
        if isinstance(error, CalibrationCacheError) or not isinstance(error, Exception):
            raise error
        raise CalibrationCacheError(
            f'calibration failed at batch {self.pulled + 1} of {self._dataset.count}: '
            f'{type(error).__name__}: {" ".join(str(error).split())}') from error

    def _short(self) -> CalibrationCacheError:
        return CalibrationCacheError(
            f'calibration ended after {self.pulled} of {self._dataset.count} batches; the engine '
            f'would be calibrated by part of the images: look for what changed or failed '
            f'meanwhile, and start again')

    def _input(self, batch: Batch, name: str) -> NDArray[Any]:
        if name not in batch:
            raise CalibrationCacheError(
                f'TensorRT asked for the input {name!r}, but the batches have '
                f'{", ".join(batch) or "nothing"}')
        array = batch[name]
        is_other_float = array.dtype.kind == 'f' and array.dtype != np.float32
        if is_other_float or array.shape[:1] != (self.get_batch_size(),):
            raise CalibrationCacheError(
                f'batch {self.pulled + 1} has {name} as {array.dtype} {list(array.shape)}, '
                f'expected {self.get_batch_size()} images of float32')
        return np.ascontiguousarray(array)

    def _keep(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
            # As text: whoever keeps log records would keep the frames of the error, too.
            _log.error('INT8 calibration failed: %s', str(error))


@contextmanager
def implicit_calibration(trt: Any, dataset: ImplicitDataset,
                         cache: CalibrationCache[CalibrationTable], copier: DeviceCopier
                         ) -> Iterator[Any]:
    """
    Give the object for ``IBuilderConfig.int8_calibrator``; build inside the block.

    The object has the :class:`CalibrationSession` as ``session``.

    :param trt: the module ``tensorrt`` 10.x.
    :param cache: the gate, with the ``parse_table`` of
        :mod:`c7_inference_ros.engines.calibration.calibration_table`.
    :raises CalibrationCacheError: the cache is damaged, the data set is empty, or calibration
        failed or ended early inside the block, whatever the builder made of that.
    """
    with cache.locked():
        session = CalibrationSession(dataset, cache, copier)
        try:
            yield _make_calibrator(trt, session)
        except Exception:
            # What went wrong in the calibrator is the cause, not what the builder says of it.
            session.raise_error()
            raise
        finally:
            copier.free()
        session.finish()


def _make_calibrator(trt: Any, session: CalibrationSession) -> Any:
    class EntropyCalibrator(trt.IInt8EntropyCalibrator2):  # type: ignore[misc]
        """Hands everything on; an exception here would be lost in C++."""

        def __init__(self) -> None:
            trt.IInt8EntropyCalibrator2.__init__(self)
            self.session = session

        def get_batch_size(self) -> int:
            return session.get_batch_size()

        def get_batch(self, names: Sequence[str], *_: Any) -> list[int] | None:
            return session.get_batch(names)

        def read_calibration_cache(self) -> bytes | None:
            return session.read_calibration_cache()

        def write_calibration_cache(self, cache: Any) -> None:
            session.write_calibration_cache(cache)

    return EntropyCalibrator()
