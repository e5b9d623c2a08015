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

"""What the node does about heat: watches it, says it, and tells it to what sheds load."""

from __future__ import annotations

from dataclasses import replace
import time
from typing import Callable

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.node.thermal_log import ThermalLog
from c7_inference_ros.node.zone_topics import ZoneTopics
from c7_inference_ros.parameter_groups import ThermalConfig
from c7_inference_ros.pipeline.activation import check_heat
from c7_inference_ros.pipeline.load_shedder import LoadShedder
from c7_inference_ros.pipeline.load_shedder import SHED
from c7_inference_ros.pipeline.load_shedder import SheddingStatus
from c7_inference_ros.pipeline.shedding import NOTHING_SHED
from c7_inference_ros.pipeline.shedding import SheddingStep
from c7_inference_ros.thermal.heat import judge
from c7_inference_ros.thermal.publisher import ThermalStatePublisher
from c7_inference_ros.thermal.source import NullSource
from c7_inference_ros.thermal.source_selection import select_source
from c7_inference_ros.thermal.state import DeviceState
from c7_inference_ros.thermal.state import ThermalState
from rclpy.lifecycle import LifecycleNode

#: Longest wait for the first poll, where something depends on it; a poll takes milliseconds.
FIRST_POLL_S = 1.0
#: What lasts one poll, as an event of under-voltage, is shown for so long: one message is missed
#: easily, and at a fast poll rate most polls are never in one.
WARNING_S = 5.0


class ThermalWatch:
    """
    The thermal side of a node, from its start to its end.

    Polls in every lifecycle state. The executor's thread configures, the polling thread publishes
    zones and drives the load shedder, the thread of diagnostics looks.

    :param node: node that logs and publishes.
    :param config: settings to begin with.
    :param wake: lets diagnostics be published at once; called under locks, must not wait.
    """

    def __init__(self, node: LifecycleNode, config: ThermalConfig,
                 wake: Callable[[], None]) -> None:
        """Begin to poll."""
        self._node = node
        self._config = config
        self._wake = wake
        self._shedder: LoadShedder | None = None
        self._topics = ZoneTopics(node, ())
        self._log = ThermalLog(node.get_logger(), lambda: self._config.policy == SHED)
        self._judged: ThermalState | None = None
        self._warned: dict[str, DeviceState] = {}  # by device, the last state with warnings
        self._shown: set[tuple[str, bool, bool]] = set()
        self.publisher = self._start()

    def configure(self, config: ThermalConfig) -> None:
        """
        Use the settings of a configuration; polls anew where they say so.

        :raises ConfigurationError: a zone topic cannot be published.
        """
        before, self._config = self._config, config
        if (before.sysfs_root, before.poll_rate) != (config.sysfs_root, config.poll_rate):
            self.publisher.stop()
            self.publisher = self._start()
        self._topics.destroy()
        self._topics = ZoneTopics(self._node, config.zone_topics)
        if self._topics.is_wanted and self.publisher.wait_for_first_poll(FIRST_POLL_S):
            self._topics.publish(self.publisher.snapshot(), time.monotonic_ns())
            self._topics.update()

    def apply(self, config: ThermalConfig) -> None:
        """Use changed dynamic settings; the others wait for :meth:`configure`."""
        before = self._config
        self._config = replace(config, sysfs_root=before.sysfs_root, poll_rate=before.poll_rate)
        if self._config != before:
            self._wake()

    def attach(self, shedder: LoadShedder) -> None:
        """Tell a shedder every state from now on."""
        self._shedder = shedder
        shedder.update(self.publisher.snapshot())

    def release(self) -> None:
        """Let go of shedder and zone topics, and go on polling; idempotent."""
        self._shedder = None
        self._topics.destroy()

    def close(self) -> None:
        """End polling; idempotent."""
        self.release()
        self.publisher.stop()

    def tend(self) -> None:
        """Make topics of zones that appeared; for a timer of the executor."""
        try:
            self._topics.update()
        except ConfigurationError as error:
            self._node.get_logger().error(str(error))

    def look(self) -> ThermalState:
        """Return the latest state; for the timer of diagnostics, which also sees a hang."""
        self.publisher.check_stale()
        state = self.publisher.snapshot()
        if state is not self._judged and not state.is_telemetry_available:
            self._judge(state)  # the polling thread hangs and cannot say so
        now_ns = time.monotonic_ns()
        return replace(state, devices=tuple(
            with_recent_warnings(device, self._warned.get(device.name), now_ns)
            for device in state.devices))

    def shedding(self) -> SheddingStatus:
        """Return what is shed; nothing while there is no shedder."""
        shedder = self._shedder
        if shedder is not None:
            return shedder.status()
        config = self._config
        verdict = judge(self.publisher.snapshot(), config.shed_margin, config.recover_margin)
        return SheddingStatus(config.policy, NOTHING_SHED, 0, verdict.heat, verdict.reason, 0.0,
                              0, False)

    def check_activation(self) -> None:
        """
        Look whether the machine throttles at the moment of activation.

        :raises ConfigurationError: it does, and ``thermal.allow_throttled_activation`` is false.
        """
        self.publisher.wait_for_first_poll(FIRST_POLL_S)
        warnings = check_heat(self.publisher.snapshot(), self._config, self.shedding().why_empty)
        for warning in warnings:
            self._node.get_logger().warning(warning)

    def on_step(self, before: SheddingStep, after: SheddingStep, reason: str) -> None:
        """Log one step of the shedder, and show it at once."""
        status = self.shedding()
        step = f'step {after.level} of {status.levels}: {after.description}'
        if after.level > before.level:
            meaning = ('no image is looked at until it is cooler' if after.is_paused else
                       'what is dropped is counted as thermal')
            self._node.get_logger().warning(f'load is shed, {step}; {meaning}; {reason}')
        else:
            self._node.get_logger().info(f'load comes back, {step}; {reason}')
        self._wake()

    def _start(self) -> ThermalStatePublisher:
        log = self._node.get_logger()
        self._log.forget()
        self._warned.clear()
        self._shown.clear()
        reasons: list[str] = []
        source = select_source(self._config.sysfs_root, on_reason=reasons.append)
        if not isinstance(source, NullSource):  # whose reason the warning of the loss has
            log.info(reasons[0])
        publisher = ThermalStatePublisher(
            source, self._config.poll_rate,
            on_transition=self._on_transition, on_state=self._on_state, log=log.warning)
        publisher.start()
        return publisher

    def _on_state(self, state: ThermalState) -> None:
        try:
            self._judge(state)
        finally:
            self._topics.publish(state, time.monotonic_ns())
            self._log.state(state)
        self._warned.update(
            {device.name: device for device in state.devices if device.warnings})
        shown = {(device.name, device.is_telemetry_available, device.is_throttling)
                 for device in state.devices}
        if shown != self._shown:  # also a loss that the log is spared
            self._shown = shown
            self._wake()

    def _judge(self, state: ThermalState) -> None:
        self._judged = state
        shedder = self._shedder
        if shedder is not None:
            shedder.update(state)

    def _on_transition(self, before: DeviceState, after: DeviceState) -> None:
        """Log what changed for the user, and show it at once."""
        self._log.transition(after)
        self._wake()


def with_recent_warnings(device: DeviceState, warned: DeviceState | None,
                         now_ns: int) -> DeviceState:
    """
    Return a device with the warnings of a moment ago, where it has none of its own now.

    :param warned: its last state with warnings, if there was one.
    :param now_ns: the monotonic clock now, nanoseconds.
    """
    if warned is None or device.warnings or not device.is_telemetry_available:
        return device
    age_s = warned.age_s(now_ns)
    if age_s > WARNING_S:
        return device
    return replace(device, warnings=tuple(
        f'{age_s:.1f} s ago: {warning}' for warning in warned.warnings))
