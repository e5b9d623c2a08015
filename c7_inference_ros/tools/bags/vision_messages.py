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

"""The messages of vision_msgs that detections need, for machines without ROS."""

from __future__ import annotations

#: Definitions by message name, in the words of vision_msgs 4, without its comments.
DEFINITIONS: dict[str, str] = {
    'Point2D': """
float64 x
float64 y
""",
    'Pose2D': """
vision_msgs/Point2D position
float64 theta
""",
    'BoundingBox2D': """
vision_msgs/Pose2D center
float64 size_x
float64 size_y
""",
    'ObjectHypothesis': """
string class_id
float64 score
""",
    'ObjectHypothesisWithPose': """
ObjectHypothesis hypothesis
geometry_msgs/PoseWithCovariance pose
""",
    'Detection2D': """
std_msgs/Header header
ObjectHypothesisWithPose[] results
BoundingBox2D bbox
string id
""",
    'Detection2DArray': """
std_msgs/Header header
Detection2D[] detections
""",
    'VisionClass': """
uint16 class_id
string class_name
""",
    'LabelInfo': """
std_msgs/Header header
vision_msgs/VisionClass[] class_map
float32 threshold
""",
    'VisionInfo': """
std_msgs/Header header
string method
string database_location
int32 database_version
""",
}
