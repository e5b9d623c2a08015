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

"""The Fast DDS profile in force, and what it asks the kernel for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Iterator
from xml.etree import ElementTree

from c7_inference_ros.resources import share_folder
from c7_inference_ros.tools.machine.surroundings import Surroundings

#: Fast DDS 2.x (Humble, Jazzy) reads the first, 3.x (Kilted and later) the second.
VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
SHIPPED = 'config/fastdds_images.xml'
#: Distributions with Fast DDS 2.x.
_FAST_DDS_2 = ('foxy', 'galactic', 'humble', 'iron', 'jazzy')


@dataclass(frozen=True)
class DdsProfile:
    """
    One profile file.

    :param path: where it lies.
    :param problem: why it cannot be used, one line; empty when it can.
    :param segment_bytes: shared memory of each process; 0 where the profile sets none up.
    :param socket_bytes: largest socket buffer that it asks the kernel for, 0 for none.
    """

    path: Path
    problem: str = ''
    segment_bytes: int = 0
    socket_bytes: int = 0


def shipped_path() -> Path:
    """Return the profile for images that comes with this package."""
    return share_folder() / SHIPPED


def variable_for(distribution: str) -> str:
    """Return the environment variable that Fast DDS of a distribution reads."""
    return VARIABLES[0 if not distribution or distribution in _FAST_DDS_2 else 1]


def profile_in_force(around: Surroundings, distribution: str) -> DdsProfile | None:
    """Return the profile that the environment names, or None."""
    name = around.environ.get(variable_for(distribution), '')
    return read_profile(Path(name)) if name else None


def is_shipped(profile: DdsProfile) -> bool:
    """Return whether a profile is the one that comes with this package, or a copy of it."""
    try:
        return profile.path.read_bytes() == shipped_path().read_bytes()
    except OSError:
        return False


def read_profile(path: Path) -> DdsProfile:
    """Read a profile file; what is wrong with it is in its ``problem``."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except OSError as error:
        return DdsProfile(path, f'cannot be read ({error.strerror or error})')
    except (ElementTree.ParseError, ValueError) as error:
        return DdsProfile(path, f'is no XML ({error})')
    segment = sockets = 0
    for transport in _named(root, 'transport_descriptor'):
        kind = _text(transport, 'type').upper()
        if kind == 'SHM':
            segment = max(segment, _number(transport, 'segment_size'))
        elif kind.startswith(('UDP', 'TCP')):
            sockets = max(sockets, *(_number(transport, name) for name in (
                'sendBufferSize', 'receiveBufferSize')))
    return DdsProfile(path, '', segment, sockets)


def _named(element: ElementTree.Element, name: str) -> Iterator[ElementTree.Element]:
    """Yield the elements of a name; two name spaces are in use for the same thing."""
    return (one for one in element.iter() if one.tag.rpartition('}')[2] == name)


def _text(element: ElementTree.Element, name: str) -> str:
    return next(((one.text or '').strip() for one in _named(element, name)), '')


def _number(element: ElementTree.Element, name: str) -> int:
    text = _text(element, name)
    return int(text) if text.isdigit() else 0
