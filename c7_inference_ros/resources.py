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

"""Where files that a parameter names are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from c7_inference_ros.errors import ConfigurationError

PACKAGE = 'c7_inference_ros'


def share_folder() -> Path:
    """
    Return the folder that holds ``models/`` and ``config/``.

    That is the share folder of the installed package, or the checkout that this module runs
    from. The ament index is only environment variables and files, so this needs no ROS.
    """
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / 'package.xml').is_file():
        return checkout
    for prefix in os.environ.get('AMENT_PREFIX_PATH', '').split(os.pathsep):
        share = Path(prefix) / 'share' / PACKAGE
        if prefix and (share / 'package.xml').is_file():
            return share
    return checkout


def find_file(name: str, parameter_name: str) -> Path:
    """
    Return the file that a parameter names.

    :param name: absolute, with ``~``, or relative to :func:`share_folder` or else to the
        working directory.
    :param parameter_name: full name of the parameter, for the message.
    :raises ConfigurationError: there is no such file.
    """
    if not name:
        raise ConfigurationError(f'{parameter_name} is empty; set it to the path of a file')
    path = Path(name).expanduser()
    tried = [path] if path.is_absolute() else [share_folder() / path, Path.cwd() / path]
    for candidate in tried:
        if candidate.exists():
            return candidate
    places = ' nor '.join(str(candidate) for candidate in tried)
    raise ConfigurationError(
        f'{parameter_name} is {name!r}, but there is no file {places}; correct the path')
