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

"""Publish /diagnostics once a second and when something changes, whatever the executor does."""

from __future__ import annotations

import threading
import time
from typing import Callable

from c7_inference_ros.node.qos import diagnostics_qos
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from rclpy.node import Node

PERIOD_S = 1.0
#: Shortest time between two messages: what flickers must not flood the graph.
SPACING_S = 0.05


class DiagnosticsPublisher:
    """
    A thread of its own: a transition that loads models must not silence the node.

    :param node: node that publishes.
    :param collect: returns the statuses of this moment; called by the thread.
    """

    def __init__(self, node: Node, collect: Callable[[], list[DiagnosticStatus]]) -> None:
        """Create the publisher; :meth:`start` begins."""
        self._node = node
        self._collect = collect
        self._publisher = node.create_publisher(
            DiagnosticArray, '/diagnostics', diagnostics_qos())
        self._stopped = threading.Event()
        self._woken = threading.Event()
        self._publishing = threading.Lock()
        self._thread = threading.Thread(target=self._run, name='diagnostics', daemon=True)

    def start(self) -> None:
        """Begin to publish, at once."""
        self._thread.start()

    def stop(self) -> None:
        """End within a period; nothing is published afterwards."""
        self._stopped.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(2 * PERIOD_S)

    def wake(self) -> None:
        """
        Let the thread publish at once, outside the period.

        For any thread and under any lock: nothing is collected or published here.
        """
        self._woken.set()

    def publish_now(self) -> None:
        """Publish the state of this moment; by the thread."""
        with self._publishing:
            if self._stopped.is_set():
                return
            array = DiagnosticArray(status=self._collect())
            array.header.stamp = self._node.get_clock().now().to_msg()
            self._publisher.publish(array)

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            # Before collecting: what changes meanwhile is told by another message.
            self._woken.clear()
            try:
                self.publish_now()
            except Exception as error:  # nothing may end this thread
                if not self._stopped.is_set():
                    self._node.get_logger().error(
                        f'diagnostics cannot be published: {type(error).__name__}: {error}',
                        throttle_duration_sec=10.0)
            now = time.monotonic()
            if now >= due:
                due = due + PERIOD_S if due + PERIOD_S > now else now + PERIOD_S
            if self._stopped.wait(SPACING_S):
                return
            self._woken.wait(max(0.0, due - time.monotonic()))
