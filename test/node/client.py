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

"""The other side of the graph: what a lifecycle manager, a camera and a subscriber do."""

import array
import time

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from diagnostic_msgs.msg import DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from lifecycle_msgs.srv import GetState
from node_process import NODE
from node_process import PATIENCE_S
import numpy as np
from rcl_interfaces.srv import DescribeParameters
from rcl_interfaces.srv import GetParameters
from rcl_interfaces.srv import ListParameters
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.parameter import parameter_value_to_python
from rclpy.qos import DurabilityPolicy
from rclpy.qos import QoSProfile
from rclpy.qos import ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from sensor_msgs.msg import Image
from std_msgs.msg import Header
from vision_msgs.msg import Detection2DArray

SECOND = 1_000_000_000
OK, WARN, ERROR, STALE = (DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR,
                          DiagnosticStatus.STALE)
SENSOR_DATA = QoSProfile(depth=5, reliability=ReliabilityPolicy.BEST_EFFORT)
RELIABLE = QoSProfile(depth=10)
LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
#: Nothing that arrives while the test does something else may be lost.
EVERYTHING = QoSProfile(depth=2000)
#: When an image that nobody answered to is followed by another.
RESEND_S = 0.3
TRANSITIONS = {'configure': Transition.TRANSITION_CONFIGURE,
               'activate': Transition.TRANSITION_ACTIVATE,
               'deactivate': Transition.TRANSITION_DEACTIVATE,
               'cleanup': Transition.TRANSITION_CLEANUP,
               'unconfigured_shutdown': Transition.TRANSITION_UNCONFIGURED_SHUTDOWN}


class Client:
    """
    A node in the process of the test; everything it does waits for conditions.

    :param domain_id: ROS domain.
    :param name: fully qualified name of the node under test.
    :param check: called while waiting; raises when waiting has become useless.
    """

    def __init__(self, domain_id, name=f'/{NODE}', check=lambda: None):
        """Join the graph."""
        self.name = name
        self._check = check
        self._context = rclpy.Context()
        rclpy.init(args=[], context=self._context, domain_id=domain_id)
        self.node = Node('test_client', context=self._context, enable_rosout=False,
                         start_parameter_services=False)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self.node)
        self._services = {}
        self.diagnostics = self.subscribe(DiagnosticArray, '/diagnostics')

    def close(self):
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()
        self._context.try_shutdown()

    # --- waiting ---

    def spin(self, seconds=0.0):
        """Take what has arrived, for at least so long."""
        until = time.monotonic() + seconds
        while True:
            self._executor.spin_once(timeout_sec=min(0.02, max(seconds, 0.0)))
            if time.monotonic() >= until:
                return

    def wait(self, condition, what, timeout_s=PATIENCE_S):
        """Return the first true value of a condition."""
        deadline = time.monotonic() + timeout_s
        while not (value := condition()):
            self._check()
            assert time.monotonic() < deadline, f'{what}: not after {timeout_s:g} s'
            self._executor.spin_once(timeout_sec=0.05)
        return value

    # --- services ---

    def call(self, kind, service, request, timeout_s=PATIENCE_S):
        """Return the answer of a service of the node; a private one when it begins with ~."""
        future = self.call_async(kind, service, request)
        self.wait(future.done, f'an answer of {service}', timeout_s)
        return future.result()

    def call_async(self, kind, service, request):
        """Send a request and return the future of its answer."""
        topic = service.replace('~', self.name, 1)
        if topic not in self._services:
            self._services[topic] = self.node.create_client(kind, topic)
        client = self._services[topic]
        self.wait(client.service_is_ready, f'service {topic}')
        return client.call_async(request)

    def start_transition(self, name):
        """Ask for a transition and return the future of the answer."""
        return self.call_async(ChangeState, '~/change_state', ChangeState.Request(
            transition=Transition(id=TRANSITIONS[name])))

    def change_state(self, name, timeout_s=PATIENCE_S):
        """Return whether a transition succeeded."""
        future = self.start_transition(name)
        self.wait(future.done, f'the end of {name}', timeout_s)
        return future.result().success

    def change_states(self, *names):
        """Walk through transitions, all of which must succeed."""
        for name in names:
            assert self.change_state(name), f'{name} was refused'

    def unconfigure(self):
        """Walk back to unconfigured from wherever a test has left the node."""
        for state, transition in (('active', 'deactivate'), ('inactive', 'cleanup')):
            if self.state() == state:
                self.change_states(transition)

    def state(self):
        """Return the label of the lifecycle state."""
        return self.call(GetState, '~/get_state', GetState.Request()).current_state.label

    def set_parameters(self, values):
        """Return (successful, reason) of each; value by name."""
        request = SetParameters.Request(parameters=[
            Parameter(name, value=value).to_parameter_msg() for name, value in values.items()])
        results = self.call(SetParameters, '~/set_parameters', request).results
        return [(result.successful, result.reason) for result in results]

    def set(self, name, value):  # noqa: A003
        """Set one parameter, which must succeed."""
        (successful, reason), = self.set_parameters({name: value})
        assert successful, f'{name} was refused: {reason}'

    def refusal(self, name, value):
        """Set one parameter, which must be refused; return the reason."""
        (successful, reason), = self.set_parameters({name: value})
        assert not successful, f'{name} = {value!r} was accepted'
        return reason

    def get_parameters(self, names):
        """Return value by name."""
        values = self.call(GetParameters, '~/get_parameters',
                           GetParameters.Request(names=list(names))).values
        return {name: parameter_value_to_python(value) for name, value in zip(names, values)}

    def list_parameters(self):
        """Return the names of all parameters."""
        return set(self.call(ListParameters, '~/list_parameters',
                             ListParameters.Request()).result.names)

    def describe_parameters(self, names):
        """Return the descriptor by name."""
        found = self.call(DescribeParameters, '~/describe_parameters',
                          DescribeParameters.Request(names=list(names))).descriptors
        return {descriptor.name: descriptor for descriptor in found}

    # --- topics ---

    def subscribe(self, kind, topic, qos=EVERYTHING):
        """Return what collects the messages of a topic."""
        return Collector(self, kind, topic.replace('~', self.name, 1), qos)

    def detections(self, camera='camera', model='detector'):
        """Return what collects the detections of a camera and model."""
        return self.subscribe(Detection2DArray, f'~/{camera}/{model}/detections')

    def camera(self, topic='/camera/image_raw', qos=RELIABLE):
        """Return a camera; CompressedImage where the topic says so."""
        return Camera(self, topic, qos)

    def statuses(self, since=0):
        """Yield {part: status} of each diagnostics message of the node, oldest first."""
        prefix = f'{self.name.lstrip("/")}: '
        for message in self.diagnostics.messages[since:]:
            yield {status.name.removeprefix(prefix): Status(status)
                   for status in message.status if status.name.startswith(prefix)}

    def status(self, part, condition=lambda status: True, timeout_s=PATIENCE_S):
        """Return a status that comes from now on and satisfies a condition."""
        return self.report(part, condition, timeout_s)[part]

    def report(self, part, condition=lambda status: True, timeout_s=PATIENCE_S):
        """Return all statuses of the message whose status of a part satisfies a condition."""
        since = len(self.diagnostics.messages)
        seen = []

        def find():
            seen[:] = [statuses for statuses in self.statuses(since) if part in statuses]
            return next((statuses for statuses in seen if condition(statuses[part])), None)

        try:
            return self.wait(find, f'a status of {part!r} as wanted', timeout_s)
        except AssertionError as error:
            last = seen[-1][part] if seen else None
            raise AssertionError(f'{error}; the last was {last}') from error


class Status:
    """One diagnostic status, its values by key."""

    def __init__(self, message):
        """Read the message; every key appears once."""
        self.name, self.level, self.message = message.name, message.level, message.message
        self.hardware_id = message.hardware_id
        self.values = {pair.key: pair.value for pair in message.values}
        assert len(self.values) == len(message.values), f'{self.name} repeats a key'

    def __getitem__(self, key):
        """Return a value."""
        return self.values[key]

    def number(self, key):
        """Return a value as a number."""
        return float(self.values[key])

    def __repr__(self):
        """Show everything."""
        return f'{self.name} level {self.level[0]}: {self.message!r} {self.values}'

    def dropped(self):
        """Return frames dropped by reason, without those that are 0."""
        return {key.removeprefix('dropped_'): int(value) for key, value in self.values.items()
                if key.startswith('dropped_') and int(value)}

    def balance(self):
        """Return how many frames of a model nobody accounts for, by prefix of their keys."""
        balances = {}
        for key, received in self.values.items():
            if key == 'received' or key.endswith('.received'):
                prefix = key.removesuffix('received')
                dropped = sum(int(value) for name, value in self.values.items()
                              if name.startswith(f'{prefix}dropped_'))
                balances[prefix] = (int(received) - dropped - int(self[f'{prefix}published'])
                                    - int(self[f'{prefix}in_flight']))
        return balances


class Collector:
    """Keeps every message of a topic."""

    def __init__(self, client, kind, topic, qos):
        """Subscribe."""
        self.topic = topic
        self.messages = []
        self.times = []
        self._client = client
        self._subscription = client.node.create_subscription(kind, topic, self._take, qos)

    def _take(self, message):
        self.times.append(time.monotonic())
        self.messages.append(message)

    def wait(self, count=1, timeout_s=PATIENCE_S):
        """Return the messages once there are so many."""
        self._client.wait(lambda: len(self.messages) >= count,
                          f'{count} messages of {self.topic}', timeout_s)
        return self.messages

    def of_stamp(self, stamp_ns):
        """Return the messages with a stamp."""
        return [message for message in self.messages if to_ns(message.header.stamp) == stamp_ns]

    def wait_for_stamp(self, stamp_ns, timeout_s=PATIENCE_S):
        """Return the one message with a stamp."""
        self._client.wait(lambda: self.of_stamp(stamp_ns),
                          f'a message of {self.topic} with stamp {stamp_ns}', timeout_s)
        message, = self.of_stamp(stamp_ns)
        return message

    def publishers(self):
        """Return how many publishers it is matched with."""
        return self._client.node.count_publishers(self.topic)

    def close(self):
        """Unsubscribe."""
        self._client.node.destroy_subscription(self._subscription)


class Camera:
    """Publishes images; every stamp is used once."""

    def __init__(self, client, topic, qos):
        """Advertise."""
        self._client = client
        self.is_compressed = topic.endswith('/compressed')
        self._publisher = client.node.create_publisher(
            CompressedImage if self.is_compressed else Image, topic, qos)
        self._last_ns = 0

    def wait_for_subscriber(self):
        """Wait until somebody is subscribed."""
        self._client.wait(self._publisher.get_subscription_count,
                          f'a subscriber of {self._publisher.topic_name}')

    def subscribers(self):
        """Return how many are subscribed."""
        return self._publisher.get_subscription_count()

    def send(self, message, stamp_ns=None, frame_id='camera_optical'):
        """Publish a message with a stamp, now by default, and return the stamp."""
        if stamp_ns is None:
            stamp_ns = max(time.time_ns(), self._last_ns + 1)
        self._last_ns = stamp_ns
        message.header = Header(frame_id=frame_id, stamp=to_stamp(stamp_ns))
        self._publisher.publish(message)
        return stamp_ns

    def publish(self, pixels=None, stamp_ns=None, **header):
        """Publish pixels (or bytes, when compressed); grey by default."""
        return self.send(self.message(pixels), stamp_ns, **header)

    def message(self, pixels=None):
        """Return a message without header."""
        if self.is_compressed:
            data = bytes(encode(GREY) if pixels is None else pixels)
            kind = 'png' if data.startswith(b'\x89PNG') else 'jpeg'
            return CompressedImage(format=kind, data=data)
        return image_message(GREY if pixels is None else pixels)

    def deliver(self, detections, pixels=None, timeout_s=PATIENCE_S):
        """
        Publish until an image was detected in, and return the array of the last one sent.

        A best-effort reader may miss what is sent in the moment that it is discovered.
        """
        self.wait_for_subscriber()
        sent = [self.publish(pixels)]
        sent_at = time.monotonic()
        before = len(detections.messages)

        def find():
            nonlocal sent_at
            is_heard = any(to_ns(message.header.stamp) in sent
                           for message in detections.messages[before:])
            if not is_heard and time.monotonic() - sent_at > RESEND_S:
                sent.append(self.publish(pixels))
                sent_at = time.monotonic()
            return next(iter(detections.of_stamp(sent[-1])), None)

        return self._client.wait(find, f'detections on {detections.topic}', timeout_s)

    def close(self):
        """Stop to exist."""
        self._client.node.destroy_publisher(self._publisher)


GREY = np.full((48, 64, 3), 128, np.uint8)


def image_message(pixels, encoding=None):
    """Return an Image of pixels; bgr8 or mono8 by their shape."""
    pixels = np.ascontiguousarray(pixels)
    data = array.array('B')
    data.frombytes(memoryview(pixels).cast('B'))
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    return Image(height=pixels.shape[0], width=pixels.shape[1],
                 encoding=encoding or {1: 'mono8', 3: 'bgr8', 4: 'bgra8'}[channels],
                 step=pixels.shape[1] * channels * pixels.itemsize, data=data)


def encode(pixels, extension='.jpg'):
    """Return pixels as a compressed file."""
    import cv2
    good, data = cv2.imencode(extension, pixels)
    assert good
    return data.tobytes()


def to_stamp(ns):
    """Return nanoseconds as a message stamp."""
    return Time(sec=int(ns // SECOND), nanosec=int(ns % SECOND))


def to_ns(stamp):
    """Return a message stamp in nanoseconds."""
    return stamp.sec * SECOND + stamp.nanosec
