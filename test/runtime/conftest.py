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

"""Fixtures of the runtime tests; also makes their helpers importable in any import mode."""

import gc
from pathlib import Path
import sys

from c7_inference_ros.runtime.memory_budget import MemoryBudget
import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def budget():
    """Return a budget that everything fits into."""
    return MemoryBudget(4 << 30, 4 << 30)


@pytest.fixture(params=['10.3'])
def bench(request, monkeypatch, tmp_path):
    """Return the doubles of one generation; fails where something undefined was done to them."""
    from tensorrt_bench import Bench
    bench = Bench(monkeypatch, tmp_path / 'engines', request.param)
    yield bench
    gc.collect()
    bench.doubles.assert_clean()


@pytest.fixture
def scale(tmp_path):
    """Return the model y = 2 * x of one image."""
    from runtime_models import scale_model
    return scale_model(tmp_path / 'scale.onnx')


@pytest.fixture
def dynamic(tmp_path):
    """Return the same with an open batch."""
    from runtime_models import scale_model
    return scale_model(tmp_path / 'dynamic.onnx', batch='batch')
