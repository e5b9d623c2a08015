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


@pytest.fixture
def make_bench(gpu, cuda, tmp_path):
    """Return what makes a bench from a model and the claims of its plan."""
    from engine_bench import Bench
    from engine_bench import double_model
    from engine_bench import load
    from engine_bench import make_log
    from engine_bench import RANGE
    from tensorrt_double import make_tensorrt
    from trt_plan import make_plan

    def make(model=double_model, generation='10.3', strategy=None, **claims):
        trt = make_tensorrt(generation, gpu)
        log = make_log(trt)
        if model is double_model:
            claims.setdefault('profiles', [RANGE])
        plan = make_plan(model(tmp_path / 'model.onnx'), generation, **claims)
        engine = load(gpu, trt, log, plan)
        kind = trt.ExecutionContextAllocationStrategy
        context = engine.create_execution_context(
            kind.STATIC if strategy is None else getattr(kind, strategy))
        return Bench(trt, cuda, gpu, log, engine, context, cuda.Stream(), {})

    return make


@pytest.fixture
def bench(make_bench):
    """Return a bench that is ready to run with a batch of two."""
    made = make_bench()
    assert made.context.set_input_shape('x', (2, 4))
    made.bind('x', 32)
    made.bind('y', 32)
    return made
