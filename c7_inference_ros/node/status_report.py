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

"""Gathers what diagnostics show from the parts that know it."""

from __future__ import annotations

from collections import Counter
from collections import defaultdict
from collections import deque
from importlib import metadata
import time
from typing import Sequence

from c7_inference_ros.node import diagnostics
from c7_inference_ros.node import thermal_diagnostics
from c7_inference_ros.node.diagnostics import Finding
from c7_inference_ros.node.session import PROBLEM_NS
from c7_inference_ros.node.session import Session
from c7_inference_ros.pipeline.accounting import AccountSnapshot
from c7_inference_ros.pipeline.accounting import DropReason
from c7_inference_ros.pipeline.load_shedder import SheddingStatus
from c7_inference_ros.runtime.memory_budget import BudgetRow
from c7_inference_ros.runtime.process_memory import available_bytes
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.thermal.state import ThermalState
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

#: A stamp this old is not latency: it comes from another clock.
FOREIGN_CLOCK_S = 3600.0


class StatusReport:
    """
    Makes the statuses of a node; used by one thread.

    :param node: node that is reported on.
    :param hardware_id: identity of the machine.
    """

    def __init__(self, node: Node, hardware_id: str) -> None:
        """Remember names that never change."""
        self._name = node.get_fully_qualified_name().lstrip('/')
        self._hardware_id = hardware_id
        self._version = _version()
        self._dropped: Counter[tuple[str, DropReason]] = Counter()
        self._recent: defaultdict[tuple[str, DropReason], deque[tuple[int, int]]] = (
            defaultdict(deque))

    def collect(self, session: Session | None, thermal: ThermalState, shedding: SheddingStatus,
                state: str, last_error: str, refused_memory: Sequence[BudgetRow] = ()
                ) -> list[DiagnosticStatus]:
        """
        Return all statuses of this moment.

        :param session: the configured part, or None.
        :param thermal: the latest thermal snapshot.
        :param shedding: what is shed because of heat.
        :param state: label of the lifecycle state.
        :param last_error: why the last transition failed, or empty.
        :param refused_memory: the account of a model that did not fit, when that was why.
        """
        runtime, warnings = '', []
        if session is not None:
            runtime = session.models.runtime.current_runtime_label()
            warnings = list(session.models.warnings())
        statuses = [diagnostics.lifecycle_status(
            self._named('lifecycle'), self._hardware_id, state, runtime, self._version,
            last_error, warnings)]
        if session is not None:
            now_ns = time.monotonic_ns()
            accounts = session.accounts.snapshot()
            statuses += [self._camera(session, name, accounts, now_ns)
                         for name in session.cameras]
            statuses += [self._model(session, name, accounts, now_ns)
                         for name in session.models.pipelines]
        statuses.append(self._memory(session, refused_memory))
        now_ns = time.monotonic_ns()
        statuses += [thermal_diagnostics.temperature_status(
            self._named(f'temperature {device.name}'), self._hardware_id, device, now_ns)
            for device in thermal.devices]
        statuses.append(thermal_diagnostics.shedding_status(
            self._named('load shedding'), self._hardware_id, shedding))
        return statuses

    def _named(self, part: str) -> str:
        return f'{self._name}: {part}'

    def _camera(self, session: Session, name: str,
                accounts: dict[tuple[str, str], AccountSnapshot],
                now_ns: int) -> DiagnosticStatus:
        camera = session.cameras[name]
        statistics = session.statistics.cameras[name]
        publishers = camera.publishers()
        last_ns = statistics.rate_in.last_ns
        silent_s = None
        if session.is_active:
            silent_s = (now_ns - (last_ns or session.activated_ns)) / 1e9
        received = [account.received for (where, _), account in accounts.items() if where == name]
        problem = '; '.join(filter(None, (camera.qos_problem, session.problem(camera=name))))
        return diagnostics.camera_status(
            self._named(f'camera {name}'), self._hardware_id, topic=camera.topic,
            transport=camera.transport, publishers=publishers, is_active=session.is_active,
            received=max(received, default=0), rate_in_hz=statistics.rate_in.rate_hz(now_ns),
            silent_s=silent_s, age_s=statistics.last_age_s,
            future_stamps=statistics.future_stamps,
            hint=camera.hint() if session.is_active and not publishers else '',
            problem=problem, limits=session.config.diagnostics)

    def _model(self, session: Session, name: str,
               accounts: dict[tuple[str, str], AccountSnapshot],
               now_ns: int) -> DiagnosticStatus:
        mine = {camera: account for (camera, model), account in accounts.items() if model == name}
        new_drops = {reason: self._recent_drops(name, reason, mine, now_ns)
                     for reason in DropReason}
        pipeline = session.models.pipelines[name]
        step = session.shedder.current
        statistics = session.statistics
        problem = session.problem(model=name)
        if session.is_active and new_drops[DropReason.STALE]:
            problem = '; '.join(filter(None, (problem, self._stale_hint(session, mine))))
            session.log((name, None, 'stale'), f'model {name}: {new_drops[DropReason.STALE]} '
                                               f'frames dropped (stale): {problem}')
        return diagnostics.model_status(
            self._named(f'model {name}'), self._hardware_id,
            facts={'path': session.config.models[name].path, **pipeline.describe()},
            is_active=session.is_active, statistics=statistics.models[name], accounts=mine,
            rate_in_hz=sum(statistics.cameras[camera].rate_in.rate_hz(now_ns) for camera in mine),
            rate_out_hz=sum(statistics.rate_out[camera, name].rate_hz(now_ns) for camera in mine),
            new_drops=new_drops, problem=problem, limits=session.config.diagnostics,
            is_shed=step.is_paused or name in step.skipped_models)

    def _recent_drops(self, name: str, reason: DropReason, accounts: dict[str, AccountSnapshot],
                      now_ns: int) -> int:
        """Return the drops of the last seconds: one diagnostics message is easily missed."""
        total = sum(account.dropped[reason] for account in accounts.values())
        recent = self._recent[name, reason]
        if total > self._dropped[name, reason]:
            recent.append((now_ns, total - self._dropped[name, reason]))
        self._dropped[name, reason] = total
        while recent and now_ns - recent[0][0] > PROBLEM_NS:
            recent.popleft()
        return sum(count for _, count in recent)

    @staticmethod
    def _stale_hint(session: Session, cameras: dict[str, AccountSnapshot]) -> str:
        """Say why images are old: a wrong clock looks quite unlike a slow machine."""
        ages = [age for camera in cameras
                if (age := session.statistics.cameras[camera].last_age_s) is not None]
        oldest = max(ages, default=0.0)
        hint = f'images are up to {oldest:.1f} s old, max_image_age is ' \
               f'{session.config.max_image_age:g} s'
        if oldest > FOREIGN_CLOCK_S:
            return hint + ('; their stamps come from another clock: for a rosbag set '
                           'use_sim_time and play it with --clock, or set max_image_age to 0')
        return hint + '; the model is too slow for this rate, or the clocks differ'

    def _memory(self, session: Session | None,
                refused: Sequence[BudgetRow]) -> DiagnosticStatus:
        values: dict[str, object] = {}
        findings: list[Finding] = []
        if refused:
            findings.append((diagnostics.ERROR, 'a model was refused, see the account'))
            values = diagnostics.account_values(refused)
        if session is not None:
            memory = session.config.memory
            values = {**values, **session.models.memory_values(),
                      **diagnostics.account_values(session.models.budget.table()),
                      'device_budget_bytes': memory.device_budget_bytes,
                      'host_budget_bytes': memory.host_budget_bytes,
                      'free_floor_bytes': memory.free_floor_bytes}
            findings = [(diagnostics.WARN, text) for text in session.models.memory_drift()]
        free = available_bytes()
        values.update({'process_rss_bytes': rss_bytes(), 'free_bytes': free})
        if session is not None and free is not None and free < memory.free_floor_bytes:
            findings.append((diagnostics.ERROR, f'{free >> 20} MiB are free on the machine, '
                                                f'expected {memory.free_floor_bytes >> 20} MiB'))
        return diagnostics.memory_status(self._named('memory'), self._hardware_id, values,
                                         findings)


def _version() -> str:
    try:
        return metadata.version('c7_inference_ros')
    except metadata.PackageNotFoundError:
        return 'checkout'
