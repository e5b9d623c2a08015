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

"""Tests that need a GPU are skipped with the exact missing piece; this is decided once."""

from pathlib import Path
import sys

import pytest

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / 'dev'):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def pytest_collection_modifyitems(items):
    """Skip the tests marked ``gpu`` where there is none; ``gpu(what)`` says what else it takes."""
    marked = [(item, mark) for item in items if (mark := item.get_closest_marker('gpu'))]
    if not marked:
        return
    from gpu_measure import presence
    missing = {'tensorrt': presence.missing_for_tensorrt, 'torch': presence.missing_for_torch,
               'nvml': presence.missing_for_nvml}
    known = {}
    for item, mark in marked:
        need = mark.args[0] if mark.args else 'tensorrt'
        if need not in known:
            known[need] = missing[need]() if need in missing else presence.missing_for_onnx(need)
        if known[need]:
            item.add_marker(pytest.mark.skip(reason=f'needs a GPU: {known[need]}'))
