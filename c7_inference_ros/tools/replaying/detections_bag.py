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

"""The bag with what was found: the topics that the node would have published."""

from __future__ import annotations

from types import TracebackType
from typing import Any
from typing import Mapping

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.tools.bags.detection_messages import detection_array
from c7_inference_ros.tools.bags.detection_messages import label_info
from c7_inference_ros.tools.bags.detection_messages import vision_info
from c7_inference_ros.tools.bags.types import DETECTIONS
from c7_inference_ros.tools.bags.types import LABEL_INFO
from c7_inference_ros.tools.bags.types import VISION_INFO
from c7_inference_ros.tools.bags.writer import BagWriter
from c7_inference_ros.tools.replaying.outputs import BAG
from c7_inference_ros.tools.replaying.outputs import OutputFolder
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.vision.labels import Labels


class DetectionsBag:
    """
    Writes the results of a run into a bag, logged when their images were; a context manager.

    :param folder: where the bag lies.
    :param node: fully qualified name of the node.
    :param config: of the node.
    :param labels: class names by model.
    :param described: what each model is, by name.
    :raises BagError: it cannot be written.
    """

    def __init__(self, folder: OutputFolder, node: str, config: NodeConfig,
                 labels: Mapping[str, Labels], described: Mapping[str, Mapping[str, Any]]) -> None:
        """Begin the bag."""
        self._node = node
        self._config = config
        self._labels = labels
        self._described = described
        self._is_introduced = False
        topics = {f'{node}/{model}/{name}': kind for model in config.model_names
                  for name, kind in (('label_info', LABEL_INFO), ('vision_info', VISION_INFO))}
        topics.update({self._topic(camera, model): DETECTIONS for camera in config.camera_names
                       for model in config.models_of(camera)})
        self._writer = BagWriter(folder.path / BAG, topics)

    def __enter__(self) -> DetectionsBag:
        """Return this."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Give the bag its name, or leave it marked after an exception."""
        self._writer.__exit__(kind, error, trace)

    def __call__(self, result: FrameResult) -> None:
        """
        Write the detections of one frame, where it was published.

        :raises BagError: it cannot be written.
        """
        if not self._is_introduced:
            self._is_introduced = True
            self._introduce(result.log_ns)
        if result.detections is not None:
            self._writer.write(
                self._topic(result.camera, result.model), result.log_ns,
                detection_array(result.stamp_ns, result.frame_id, result.detections))

    def _introduce(self, log_ns: int) -> None:
        """Write what says how to read the detections, before the first of them."""
        for model in self._config.model_names:
            facts = self._described[model]
            self._writer.write(
                f'{self._node}/{model}/label_info', log_ns,
                label_info(log_ns, self._labels[model],
                           self._config.models[model].score_threshold))
            self._writer.write(
                f'{self._node}/{model}/vision_info', log_ns,
                vision_info(log_ns, f'{facts["model"]} ({facts["decoder"]})',
                            f'{self._node}:models.{model}.labels'))

    def _topic(self, camera: str, model: str) -> str:
        return f'{self._node}/{camera}/{model}/detections'
