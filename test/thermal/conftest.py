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

"""Fixtures of the thermal tests; also makes ``thermal_sysfs`` importable in any import mode."""

from pathlib import Path
import sys

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from thermal_sysfs import laptop, SysfsTree  # noqa: E402


@pytest.fixture
def tree(tmp_path):
    """Return an empty sysfs, as a virtual machine shows it."""
    return SysfsTree(tmp_path / 'sys')


@pytest.fixture
def laptop_tree(tmp_path):
    """Return the sysfs of a warm, healthy laptop."""
    return laptop(SysfsTree(tmp_path / 'sys'))
