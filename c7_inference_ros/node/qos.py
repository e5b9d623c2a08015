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

"""
QoS of every topic, with the standard ``qos_overrides`` parameters (REP-2003).

Best effort with depth 1 receives from any publisher and never queues an old image behind a new
one; results are reliable; what a late joiner must still get is latched.
"""

from __future__ import annotations

from rcl_interfaces.msg import SetParametersResult
from rclpy.exceptions import ParameterException
from rclpy.qos import QoSDurabilityPolicy
from rclpy.qos import QoSHistoryPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import QoSReliabilityPolicy
from rclpy.qos_overriding_options import InvalidQosOverridesError
from rclpy.qos_overriding_options import QoSOverridingOptions

#: What rclpy raises for a ``qos_overrides`` parameter of a wrong type or value.
OVERRIDE_ERRORS = (InvalidQosOverridesError, ParameterException, RuntimeError, ValueError)


def image_qos() -> QoSProfile:
    """Return the QoS of an image subscription: sensor data, newest only."""
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1,
                      reliability=QoSReliabilityPolicy.BEST_EFFORT,
                      durability=QoSDurabilityPolicy.VOLATILE)


def result_qos() -> QoSProfile:
    """Return the QoS of detections and annotated images."""
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=10,
                      reliability=QoSReliabilityPolicy.RELIABLE,
                      durability=QoSDurabilityPolicy.VOLATILE)


def latched_qos() -> QoSProfile:
    """Return the QoS of label_info and vision_info: a late joiner gets the last one."""
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=1,
                      reliability=QoSReliabilityPolicy.RELIABLE,
                      durability=QoSDurabilityPolicy.TRANSIENT_LOCAL)


def diagnostics_qos() -> QoSProfile:
    """Return the QoS of /diagnostics, as diagnostic_updater has it."""
    return QoSProfile(history=QoSHistoryPolicy.KEEP_LAST, depth=10,
                      reliability=QoSReliabilityPolicy.RELIABLE,
                      durability=QoSDurabilityPolicy.VOLATILE)


def overridable() -> QoSOverridingOptions:
    """Let history, depth and reliability be set as ``qos_overrides.<topic>.…`` parameters."""
    return QoSOverridingOptions.with_default_policies(callback=_check)


def _check(qos: QoSProfile) -> SetParametersResult:
    """Refuse a depth that the middleware would refuse without its name."""
    return SetParametersResult(
        successful=1 <= qos.depth < 1 << 31,
        reason=f'depth is {qos.depth}, expected 1 to {(1 << 31) - 1}')
