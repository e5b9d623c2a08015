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

"""The lifecycle node: transitions and wiring, nothing else."""

from __future__ import annotations

import platform
import signal
import sys
import traceback

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.node.diagnostics_publisher import DiagnosticsPublisher
from c7_inference_ros.node.parameters import NodeParameters
from c7_inference_ros.node.session import Session
from c7_inference_ros.node.status_report import StatusReport
from c7_inference_ros.node.thermal_watch import ThermalWatch
from c7_inference_ros.node.transitions import ERROR
from c7_inference_ros.node.transitions import FAILURE
from c7_inference_ros.node.transitions import guarded
from c7_inference_ros.node.transitions import SUCCESS
from c7_inference_ros.runtime.memory_budget import BudgetRow
from c7_inference_ros.runtime.memory_budget import format_table
import rclpy
from rclpy._rclpy_pybind11 import RCLError
from rclpy.clock import Clock
from rclpy.clock import ClockType
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.signals import SignalHandlerOptions

NODE_NAME = 'c7_inference'
WATCHDOG_PERIOD_S = 0.1


class InferenceNode(LifecycleNode):
    """Loads detection models on configure, looks at cameras while active, and says how it is."""

    def __init__(self, **options: object) -> None:
        """Declare the parameters and begin with diagnostics; nothing is loaded yet."""
        super().__init__(NODE_NAME, **options)
        self.last_error = ''
        self._session: Session | None = None
        self._accounts = None
        self._is_stuck = False
        self._must_fail = False
        self.refused_memory: tuple[BudgetRow, ...] = ()
        self._declared = NodeParameters(
            self, lambda: self._session is None, self._check_change, self._apply_change)
        self._guard_transitions()
        self._report = StatusReport(self, platform.node() or 'unknown')
        self._diagnostics = DiagnosticsPublisher(self, self._collect)
        self._thermal = ThermalWatch(self, self._declared.thermal(), self._diagnostics.wake)
        self._diagnostics.start()
        self._timer = self.create_timer(WATCHDOG_PERIOD_S, self._watch,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    @property
    def state_label(self) -> str:
        """Name of the lifecycle state; released rclpy has no public accessor."""
        return self._state_machine.current_state[1]

    @guarded
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Check the parameters, load and warm up the models, create the publishers.

        SUCCESS leads to inactive, FAILURE (wrong parameters, a model that does not load or does
        not fit) back to unconfigured with nothing left behind.
        """
        config = self._declared.load()
        streams = {(camera, model) for camera in config.camera_names
                   for model in config.models_of(camera)}
        if self._accounts is not None and set(self._accounts.streams) != streams:
            self._accounts = None  # other streams: their counts begin anew
        try:
            self._thermal.configure(config.thermal)
            self._session = Session(self, config, self._thermal.publisher, self._accounts,
                                    self._on_expired, self._thermal.on_step)
        except BaseException:
            self._thermal.release()
            raise
        self._thermal.attach(self._session.shedder)
        self._accounts = self._session.accounts
        for name, pipeline in self._session.models.pipelines.items():
            facts = pipeline.describe()
            self.get_logger().info(
                f'model {name}: {config.models[name].path}, decoder {facts["decoder"]}, input '
                f'{facts["input"]} {facts["color_order"]} {facts["resize"]}, '
                f'{facts["classes"]} classes from {facts["labels"]}')
        for line in format_table(self._session.models.budget.table()):
            self.get_logger().info(f'memory: {line}')
        self.get_logger().info(
            f'configured on {self._session.models.runtime.current_runtime_label()}')
        return SUCCESS

    @guarded
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Enforce the memory budget and subscribe to the cameras.

        SUCCESS leads to active, FAILURE (over the budget, a camera that cannot be subscribed)
        back to inactive.
        """
        session = self._configured()
        session.models.check_memory(session.config.memory.free_floor_bytes)
        self._thermal.check_activation()
        result = super().on_activate(state)
        if result != SUCCESS:
            return result
        try:
            session.start()
        except ConfigurationError:
            super().on_deactivate(state)
            raise
        for camera in session.cameras.values():
            self.get_logger().info(f'active: camera {camera.name} on {camera.topic}')
        return SUCCESS

    @guarded
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Stop intake, let the frame in work finish, silence the publishers.

        SUCCESS leads to inactive, ERROR (an inference that hangs, a device that is lost) to the
        error transition.
        """
        if self._must_fail:
            return ERROR
        if not self._configured().stop():
            self.get_logger().warning(
                'the frame in work did not finish within drain_timeout; its result is dropped')
        return super().on_deactivate(state)

    @guarded
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back; SUCCESS leads to unconfigured."""
        self._release()
        return SUCCESS

    @guarded
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give everything back; SUCCESS leads to finalized."""
        self._release()
        return SUCCESS

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """
        Give everything back after a bug, a hanging inference or the loss of the device.

        SUCCESS leads to unconfigured, from where the node can be configured again; FAILURE to
        finalized.
        """
        reason = self.last_error
        try:
            super().on_deactivate(state)
            self._release()
        except Exception:
            self.get_logger().error(f'clean-up after an error failed\n{traceback.format_exc()}')
            return FAILURE
        finally:
            self.last_error = reason
        return SUCCESS

    def autostart(self) -> None:
        """Configure and activate, as a lifecycle manager would."""
        if self.get_parameter('autostart').value and self.state_label == 'unconfigured':
            if self.trigger_configure() == SUCCESS:
                self.trigger_activate()

    def close(self) -> None:
        """Go to finalized from any state and stop everything; idempotent."""
        try:
            for state, step in (('active', self.trigger_deactivate),
                                ('inactive', self.trigger_cleanup)):
                if self.state_label == state:
                    step()
            if self.state_label == 'unconfigured':
                self.trigger_shutdown()
        except RCLError as error:
            self.get_logger().warning(f'shutdown could not walk through the states: {error}')
        self._release()
        self._diagnostics.stop()
        self._thermal.close()

    def _configured(self) -> Session:
        if self._session is None:
            raise ConfigurationError('the node is not configured')
        return self._session

    def _release(self) -> None:
        """Give back what configure made; idempotent, the one path for every way down."""
        session, self._session = self._session, None
        self._thermal.release()
        is_stuck, self._is_stuck = self._is_stuck, False
        self._must_fail = False
        if session is not None and not session.release(is_stuck):
            self.get_logger().error(
                'the inference thread hangs and was abandoned; its memory comes back only when '
                'it returns or the process is restarted')

    def _collect(self) -> list:
        thermal = self._thermal.look()
        return self._report.collect(self._session, thermal, self._thermal.shedding(),
                                    self.state_label, self.last_error, self.refused_memory)

    def _check_change(self, config: NodeConfig) -> None:
        if self._session is not None:
            self._session.check(config)

    def _apply_change(self, config: NodeConfig) -> None:
        self._thermal.apply(config.thermal)
        if self._session is not None:
            self._session.apply(config)

    def _watch(self) -> None:
        self._thermal.tend()
        session = self._session
        if session is None:
            return
        session.watchdog.check()
        if session.device_lost and not self._must_fail:
            self._fail(f'the device is lost, the models were given up: {session.device_lost}; '
                       f'configure again')

    def _on_expired(self, elapsed_s: float) -> None:
        """Leave the active state through the error transition; an inference hangs."""
        self._is_stuck = True
        reason = (f'an inference has not returned for {elapsed_s:.1f} s, inference_timeout is '
                  f'{self._configured().config.inference_timeout:g} s; the models were given up')
        self._fail(reason)

    def _fail(self, reason: str) -> None:
        """Leave the active state through the error transition."""
        self._must_fail = True
        self.get_logger().error(reason)
        if self.state_label == 'active':
            self.trigger_deactivate()
        self.last_error = reason

    def _guard_transitions(self) -> None:
        """Answer a transition that the state does not allow; rclpy would end the process."""
        service = self._service_change_state
        change_state = service.callback

        def answer(request, response):  # noqa: ANN001, ANN202
            try:
                return change_state(request, response)
            except RCLError as error:
                wanted = request.transition.label or request.transition.id
                self.get_logger().error(
                    f'transition {wanted} is not possible while the node is {self.state_label}: '
                    f'{" ".join(str(error).split())[:160]}')
                response.success = False
                return response

        service.callback = answer


def main(args: list[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM; returns 0 then, 2 when it cannot start."""
    # rclpy's own handlers would take the context away before the node has cleaned up.
    stopped: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, frame: stopped.append(received))
    try:
        rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
        node = InferenceNode()
    except Exception as error:
        print(f'c7_inference_ros cannot start: {type(error).__name__}: '
              f'{" ".join(str(error).split())}', file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    executor.create_task(node.autostart)
    try:
        while not stopped and rclpy.ok():
            executor.spin_once(timeout_sec=0.1)
    finally:
        node.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
        # The interpreter gives its handlers up before it ends: a second signal, as of a Ctrl-C
        # that both the terminal and launch pass on, would then end the process with that signal.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    return 0


if __name__ == '__main__':
    sys.exit(main())
