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

"""The publishers of one model: detections and annotated images by camera, and latched infos."""

from __future__ import annotations

from typing import Iterable

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.node.conversions import to_detection_array
from c7_inference_ros.node.conversions import to_image_message
from c7_inference_ros.node.conversions import to_label_info
from c7_inference_ros.node.conversions import to_vision_info
from c7_inference_ros.node.qos import latched_qos
from c7_inference_ros.node.qos import overridable
from c7_inference_ros.node.qos import OVERRIDE_ERRORS
from c7_inference_ros.node.qos import result_qos
from c7_inference_ros.vision.annotate import draw
from c7_inference_ros.vision.detections import Detections
from c7_inference_ros.vision.images import SourceImage
from c7_inference_ros.vision.images import to_bgr
from c7_inference_ros.vision.labels import Labels
from rclpy.lifecycle import LifecycleNode
from rclpy.qos import QoSProfile
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray
from vision_msgs.msg import LabelInfo
from vision_msgs.msg import VisionInfo


class ModelOutputs:
    """
    Publishes what one model found.

    :param node: node that publishes.
    :param model: name of the model.
    :param cameras: names of the cameras that it looks at.
    :param labels: class names of the model.
    :param method: what the model is, for vision_info.
    :raises ConfigurationError: a ``qos_overrides`` parameter cannot be used.
    """

    def __init__(self, node: LifecycleNode, model: str, cameras: Iterable[str], labels: Labels,
                 method: str) -> None:
        """Create the publishers; they are silent until the node is active."""
        self._node = node
        self._model = model
        self._labels = labels
        self._method = method
        self._version = 0
        self._published: object = None
        self._all: list = []
        try:
            self._detections = {
                camera: self._publisher(Detection2DArray, f'~/{camera}/{model}/detections',
                                        result_qos()) for camera in cameras}
            self._annotated = {
                camera: self._publisher(Image, f'~/{camera}/{model}/annotated', result_qos())
                for camera in cameras}
            self._label_info = self._publisher(LabelInfo, f'~/{model}/label_info', latched_qos())
            self._vision_info = self._publisher(VisionInfo, f'~/{model}/vision_info',
                                                latched_qos())
        except OVERRIDE_ERRORS as error:
            self.destroy()
            raise ConfigurationError(
                f'a qos_overrides parameter of model {model} cannot be used: {error}; see the '
                f'values that ROS 2 knows for history, depth and reliability') from error

    def publish(self, camera: str, header: Header, detections: Detections,
                image: SourceImage) -> None:
        """Publish the detections of one image; an empty array when there are none."""
        self._detections[camera].publish(to_detection_array(header, detections))
        annotated = self._annotated[camera]
        if annotated.get_subscription_count():
            annotated.publish(to_image_message(
                header, draw(to_bgr(image), detections, self._labels)))

    def publish_info(self, threshold: float) -> None:
        """Publish label_info and vision_info where they changed; only while active."""
        if self._published == (self._labels, threshold):
            return
        self._published = (self._labels, threshold)
        self._version += 1
        stamp = self._node.get_clock().now().to_msg()
        self._label_info.publish(to_label_info(self._labels, threshold, stamp))
        parameter = f'{self._node.get_fully_qualified_name()}:models.{self._model}.labels'
        self._vision_info.publish(to_vision_info(self._method, parameter, self._version, stamp))

    def destroy(self) -> None:
        """Remove the publishers; idempotent."""
        publishers, self._all = self._all, []
        for publisher in publishers:
            self._node.destroy_lifecycle_publisher(publisher)

    def _publisher(self, kind: type, topic: str, qos: QoSProfile):  # noqa: ANN202
        publisher = self._node.create_lifecycle_publisher(
            kind, topic, qos, qos_overriding_options=overridable())
        self._all.append(publisher)
        return publisher
