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

"""Where the replays of many bags run: processes of this machine, or a Dask cluster."""

from __future__ import annotations

from concurrent.futures import as_completed
from concurrent.futures import ThreadPoolExecutor
from functools import partial
import threading
from typing import Any
from typing import Callable
from typing import Sequence
import uuid

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.replaying.bag_job import BagJob
from c7_inference_ros.tools.replaying.bag_job import BagOutcome
from c7_inference_ros.tools.replaying.bag_job import FAILED
from c7_inference_ros.tools.replaying.bag_job import run_job

Take = Callable[[BagOutcome], None]
_CONNECT_S = '10s'
#: How long processes on a cluster may take to end after an interruption.
_STOP_S = 30.0
#: Between two questions of a worker whether the run was interrupted.
_ASK_S = 1.0


def run_here(jobs: Sequence[BagJob], count: int, take: Take) -> None:
    """
    Run jobs in processes of this machine.

    :param count: most at a time.
    :param take: called with each outcome, as they come.
    """
    stop = threading.Event()
    with ThreadPoolExecutor(count) as pool:
        futures = [pool.submit(run_job, job, stop.is_set) for job in jobs]
        try:
            for future in as_completed(futures):
                take(future.result())
        except BaseException:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
            raise


def run_on_cluster(jobs: Sequence[BagJob], address: str, take: Take) -> None:
    """
    Run jobs on the workers of a Dask cluster, which see the same files at the same paths.

    A worker that is lost takes no bag with it: Dask runs the job again on another one.

    :param address: of the scheduler, for example ``tcp://10.0.0.1:8786``.
    :param take: called with each outcome, as they come.
    :raises ConfigurationError: Dask is not installed, or the scheduler does not answer.
    """
    dask = _dask(address)
    try:
        client = dask.Client(address, timeout=_CONNECT_S)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConfigurationError(
            f'--scheduler {address} does not answer ({type(error).__name__}: '
            f'{" ".join(str(error).split())}); expected the address of a Dask scheduler, for '
            f'example tcp://10.0.0.1:8786') from error
    with client:
        name = f'replay-stop-{uuid.uuid4()}'
        stop = dask.Event(name, client=client)
        futures = {client.submit(_run_remote, job, name, pure=False, key=f'replay-{job.name}-'
                                 f'{uuid.uuid4()}'): job for job in jobs}
        try:
            for future in dask.as_completed(futures):
                take(_result(future, futures[future]))
        except BaseException:
            stop.set()
            dask.wait(list(futures), timeout=_STOP_S)
            raise


def _result(future: Any, job: BagJob) -> BagOutcome:
    try:
        outcome: BagOutcome = future.result()
    except Exception as error:
        return BagOutcome(job.name, FAILED, NO, (
            f'the cluster lost it ({type(error).__name__}: {" ".join(str(error).split())})',))
    return outcome


def _run_remote(job: BagJob, stop_name: str) -> BagOutcome:
    """Run a job on a worker until the client says stop, or is out of reach."""
    return run_job(job, partial(_is_set, _dask('').Event(stop_name)))


def _dask(address: str) -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ConfigurationError(f'--scheduler {address} needs Dask ({error}); install it with: '
                                 f'pip install "dask[distributed]"') from error
    return distributed


def _is_set(event: Any) -> bool:
    try:
        return bool(event.wait(timeout=_ASK_S))
    except Exception:
        return True
