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

"""The demo's side of the ROS graph: lifecycle manager, player and recorder in one node."""

from __future__ import annotations

import threading
import time
from typing import Any
from typing import Callable

from builtin_interfaces.msg import Time
from demo.clip import TOPIC as IMAGE_TOPIC
from demo.errors import DemoError
from demo.node_process import NodeProcess
from demo.recording import Recording
from demo.sim_clock import ClockPublisher
from demo.sim_clock import SimClock
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2DArray
from vision_msgs.msg import LabelInfo
from vision_msgs.msg import VisionInfo

NODE = 'c7_inference'
START_S, TRANSITION_S, MATCH_S = 30.0, 120.0, 10.0
TRANSITIONS = {'configure': Transition.TRANSITION_CONFIGURE,
               'activate': Transition.TRANSITION_ACTIVATE,
               'deactivate': Transition.TRANSITION_DEACTIVATE}
# Messages wait for the recorder, they are never overwritten: it must not lose what it counts.
_KEPT = 1000


class Session:
    """
    Everything the demo does over DDS.

    :param domain_id: domain to join.
    :param camera: name of the camera in the node's parameters.
    :param model: name of the model.
    :param clock: simulated time.
    """

    def __init__(self, domain_id: int, camera: str, model: str, clock: SimClock) -> None:
        """Join the graph and begin to publish simulated time; nothing waits for the node yet."""
        self.recording = Recording(NODE, camera, model)
        self.model = model
        self.clock = clock
        self._changed = threading.Condition()
        self._context = rclpy.Context()
        rclpy.init(context=self._context, domain_id=domain_id,
                   signal_handler_options=SignalHandlerOptions.NO)
        self._node = rclpy.create_node('c7_demo', context=self._context,
                                       start_parameter_services=False, enable_rosout=False)
        # As `ros2 bag play` offers it. Made before the node starts, so that the node knows it
        # by the time it subscribes: the first image cannot be lost to discovery.
        self._images = self._node.create_publisher(
            Image, IMAGE_TOPIC, QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE))
        self._clock_publisher = self._node.create_publisher(Clock, '/clock', 1)
        self._subscriptions = {
            name: self._subscribe(kind, self.recording.topics[name], name)
            for name, kind in (('detections', Detection2DArray), ('diagnostics', DiagnosticArray),
                               ('label_info', LabelInfo), ('vision_info', VisionInfo))}
        self._change_state = self._node.create_client(ChangeState, f'/{NODE}/change_state')
        self._get_state = self._node.create_client(GetState, f'/{NODE}/get_state')
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._thread = threading.Thread(target=self._spin, name='spin', daemon=True)
        self._thread.start()
        self._ticker = ClockPublisher(clock, self._publish_clock)

    def close(self) -> None:
        """Leave the graph; safe to call again."""
        if not self._context.ok():
            return
        self._ticker.stop()
        rclpy.shutdown(context=self._context, uninstall_handlers=False)
        self._thread.join()
        self._executor.shutdown()
        self._node.destroy_node()

    # -- lifecycle manager --

    def wait_for_node(self, process: NodeProcess) -> str:
        """Return the node's state as soon as its services answer."""
        self._wait('it started', START_S, process,
                   lambda: self._change_state.service_is_ready()
                   and self._get_state.service_is_ready())
        return self.state(process, 'it started')

    def state(self, process: NodeProcess, doing: str) -> str:
        """Return the label of the node's state."""
        return self._call(self._get_state, GetState.Request(), doing, START_S,
                          process).current_state.label

    def change_state(self, transition: str, process: NodeProcess) -> str:
        """
        Ask for a transition and return the state after it.

        :raises DemoError: when the node refuses or ends; with its own last error lines.
        """
        request = ChangeState.Request(transition=Transition(id=TRANSITIONS[transition]))
        doing = f'it was told to {transition}'
        done = self._call(self._change_state, request, doing, TRANSITION_S, process)
        state = self.state(process, doing)
        if not done.success:
            raise DemoError(f'the node refused to {transition} and is {state}',
                            details=process.error_lines())
        return state

    # -- player --

    def wait_for_match(self, process: NodeProcess) -> None:
        """Wait until the node takes our images and we take its detections."""
        self._wait('its topics were looked for', MATCH_S, process, lambda: (
            self._images.get_subscription_count() > 0
            and self._clock_publisher.get_subscription_count() > 0
            and self._publishers_of('detections') > 0))

    def publish_image(self, stamp_ns: int, raw: bytes) -> None:
        """Publish a serialised image when its time has come."""
        self._ticker.tick()
        self.recording.sent_ns[stamp_ns] = time.monotonic_ns()
        self._images.publish(raw)

    # -- recorder --

    def wait_for_record(self, condition: Callable[[Recording], bool], timeout_s: float,
                        process: NodeProcess, doing: str) -> bool:
        """Return whether something was recorded within a time."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while not condition(self.recording):
                remaining = deadline - time.monotonic()
                if remaining <= 0:
                    return False
                self._changed.wait(min(remaining, 0.1))
                process.check(doing)
        return True

    def _subscribe(self, kind: Any, topic: str, name: str) -> Any:
        is_latched = name.endswith('_info')
        qos = QoSProfile(depth=_KEPT, reliability=ReliabilityPolicy.RELIABLE,
                         durability=DurabilityPolicy.TRANSIENT_LOCAL if is_latched
                         else DurabilityPolicy.VOLATILE)

        def record(raw: bytes) -> None:
            arrived = time.monotonic_ns()
            with self._changed:
                self.recording.add(name, raw, arrived, self.clock.now_ns())
                self._changed.notify_all()

        return self._node.create_subscription(kind, topic, record, qos, raw=True)

    def _publishers_of(self, name: str) -> int:
        return self._node.count_publishers(self._subscriptions[name].topic_name)

    def _publish_clock(self, now_ns: int) -> None:
        seconds, nanoseconds = divmod(now_ns, 1_000_000_000)
        self._clock_publisher.publish(Clock(clock=Time(sec=seconds, nanosec=nanoseconds)))

    def _spin(self) -> None:
        while self._context.ok():
            try:
                self._executor.spin_once(timeout_sec=0.1)
            except ExternalShutdownException:
                return

    def _wait(self, doing: str, timeout_s: float, process: NodeProcess,
              condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            process.check(doing)
            if time.monotonic() > deadline:
                raise DemoError(
                    f'the node did not answer within {timeout_s:.0f} s while {doing}; does '
                    f'{NODE} run under this name, and is the middleware the same on both '
                    f'sides (RMW_IMPLEMENTATION)?', details=process.error_lines())
            time.sleep(0.01)

    def _call(self, client: Any, request: Any, doing: str, timeout_s: float,
              process: NodeProcess) -> Any:
        future = client.call_async(request)
        self._wait(doing, timeout_s, process, future.done)
        return future.result()
