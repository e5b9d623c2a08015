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

"""One camera's subscription: from a message to the intake, and why nothing arrives."""

from __future__ import annotations

import difflib
from typing import Callable

from c7_inference_ros.config import CameraConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.node.conversions import stamp_ns
from c7_inference_ros.node.qos import image_qos
from c7_inference_ros.node.qos import overridable
from c7_inference_ros.node.qos import OVERRIDE_ERRORS
from rclpy._rclpy_pybind11 import RCLError
from rclpy.exceptions import InvalidTopicNameException
from rclpy.node import Node
from rclpy.qos import qos_policy_name_from_kind
from rclpy.subscription import Subscription
try:
    from rclpy.event_handler import SubscriptionEventCallbacks
except ImportError:  # Humble
    from rclpy.qos_event import SubscriptionEventCallbacks
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image

_TYPES = {'raw': Image, 'compressed': CompressedImage}


class CameraSubscription:
    """
    Subscribes to one camera while the node is active.

    :param node: node that subscribes.
    :param config: the camera.
    :param receive: called with (camera name, message, stamp in nanoseconds) for every image.
    :raises ConfigurationError: the topic has no legal name.
    """

    def __init__(self, node: Node, config: CameraConfig,
                 receive: Callable[[str, Image | CompressedImage, int], None]) -> None:
        """Resolve the topic; nothing is subscribed yet."""
        self._node = node
        self.name = config.name
        self.transport = config.image_transport
        self._receive = receive
        self._subscription: Subscription | None = None
        #: What the middleware said of a publisher that cannot be heard.
        self.qos_problem = ''
        try:
            # Resolved before the suffix is added, so that remapping the base name is enough.
            topic = node.resolve_topic_name(config.image_topic)
        except (InvalidTopicNameException, RCLError) as error:
            raise ConfigurationError(
                f'cameras.{config.name}.image_topic is {config.image_topic!r}, which is no topic '
                f'name ({" ".join(str(error).split())}); correct it') from error
        self.topic = topic + ('/compressed' if self.transport == 'compressed' else '')

    def subscribe(self) -> None:
        """
        Begin to receive.

        :raises ConfigurationError: a ``qos_overrides`` parameter cannot be used.
        """
        self.qos_problem = ''
        try:
            self._subscription = self._node.create_subscription(
                _TYPES[self.transport], self.topic, self._on_image, image_qos(),
                event_callbacks=SubscriptionEventCallbacks(
                    incompatible_qos=self._on_incompatible_qos),
                qos_overriding_options=overridable())
        except OVERRIDE_ERRORS as error:
            raise ConfigurationError(
                f'qos_overrides.{self.topic}.subscription cannot be used: {error}; see the values '
                f'that ROS 2 knows for history, depth and reliability') from error

    def unsubscribe(self) -> None:
        """Stop receiving; idempotent."""
        subscription, self._subscription = self._subscription, None
        if subscription is not None:
            self._node.destroy_subscription(subscription)

    def publishers(self) -> int:
        """Return how many publishers the topic has."""
        return self._node.count_publishers(self.topic)

    def hint(self) -> str:
        """Return which topic was perhaps meant, while nothing publishes this one."""
        wanted = _TYPES[self.transport]
        type_name = f'sensor_msgs/msg/{wanted.__name__}'
        own = f'{self._node.get_fully_qualified_name()}/'  # annotated images are no camera
        images = {name: types for name, types in self._node.get_topic_names_and_types()
                  if name != self.topic and not name.startswith(own) and any(
                      kind in ('sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage')
                      for kind in types) and self._node.count_publishers(name)}
        other = f'{self.topic}/compressed' if self.transport == 'raw' else (
            self.topic.removesuffix('/compressed'))
        if other in images:
            to = 'compressed' if self.transport == 'raw' else 'raw'
            return f'; {other} is published: set cameras.{self.name}.image_transport to {to}'
        same = [name for name, types in images.items() if type_name in types]
        if not same:
            return '; no image topic is published at all' if not images else ''
        near = difflib.get_close_matches(self.topic, same, n=1, cutoff=0.0)[0]
        return f'; did you mean {near}?'

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._receive(self.name, message, stamp_ns(message.header.stamp))

    def _on_incompatible_qos(self, event: object) -> None:
        policy = qos_policy_name_from_kind(event.last_policy_kind)  # type: ignore[attr-defined]
        self.qos_problem = (
            f'a publisher of {self.topic} offers another {policy.lower()} than is asked for; '
            f'change qos_overrides.{self.topic}.subscription or the publisher')
        self._node.get_logger().warning(f'camera {self.name}: {self.qos_problem}')
