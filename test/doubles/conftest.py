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

"""Fixtures of the doubles' own tests; also makes the doubles importable in any import mode."""

from pathlib import Path
import sys

import pytest

sys.path[:0] = [folder for folder in (str(Path(__file__).parent),
                                      str(Path(__file__).parents[1] / 'runtime'))
                if folder not in sys.path]


@pytest.fixture
def gpu():
    """Return a GPU; the test fails if something undefined was done to it."""
    from simulated_gpu import SimulatedGpu
    made = SimulatedGpu()
    yield made
    made.resume()
    made.assert_clean()


@pytest.fixture
def cuda(gpu):
    """Return an initialised PyCUDA with the primary context current in this thread."""
    from pycuda_double import make_pycuda
    module = make_pycuda(gpu)
    module.init()
    context = module.Device(0).retain_primary_context()
    context.push()
    yield module
    while module.Context.get_current() is not None:
        module.Context.pop()
