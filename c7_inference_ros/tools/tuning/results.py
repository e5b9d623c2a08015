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

"""Files that appear whole or not at all."""

from __future__ import annotations

from pathlib import Path

from c7_inference_ros.engines.atomic_file import write_atomically
from c7_inference_ros.engines.atomic_file import write_problem
from c7_inference_ros.errors import ConfigurationError


def put(path: Path, data: bytes) -> None:
    """
    Write a file in one step; one that is there keeps its permissions.

    :raises ConfigurationError: it cannot be written; nothing changed.
    """
    # What a link points to is what is meant.
    path = path.resolve()
    try:
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        write_atomically(path, data, mode)
    except OSError as error:
        raise ConfigurationError(write_problem(error, path)) from error
