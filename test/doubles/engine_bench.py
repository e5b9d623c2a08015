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

"""A small engine loaded in the doubles, for their own tests."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from runtime_models import node
from runtime_models import save
from tensorrt_double import GENERATIONS


def double_model(path, batch='n'):
    """Write y = 2 * x; x is float32 [batch, 4]."""
    return save(path, [node('Mul', ['x', 'two'], ['y'])], {'x': ('FLOAT', [batch, 4])},
                {'y': ('FLOAT', [batch, 4])}, {'two': np.array(2, np.float32)})


def nonzero_model(path):
    """Write y = the places where x is not zero; x is float32 [4], y is int64 [1, unknown]."""
    return save(path, [node('NonZero', ['x'], ['y'])], {'x': ('FLOAT', [4])},
                {'y': ('INT64', [1, 'found'])})


def reshape_model(path):
    """Write y = x in the shape that the shape tensor says; x is float32 [4]."""
    return save(path, [node('Reshape', ['x', 'shape'], ['y'])],
                {'x': ('FLOAT', [4]), 'shape': ('INT64', [2])}, {'y': ('FLOAT', ['a', 'b'])})


#: Range of shapes of :func:`double_model`.
RANGE = {'x': ((1, 4), (2, 4), (8, 4))}
_LOGS = {}


def make_log(trt):
    """
    Return a logger that keeps (severity, text).

    The real module gets one for the whole process: it wants the same logger for everything that
    lives at the same time.
    """
    if trt in _LOGS:
        _LOGS[trt].heard.clear()
        return _LOGS[trt]

    class Log(trt.ILogger):

        def __init__(self):
            trt.ILogger.__init__(self)
            self.heard = []

        def log(self, severity, msg):
            self.heard.append((int(severity), msg))

        def errors(self):
            found = [text for severity, text in self.heard if severity < 2]
            self.heard.clear()
            return '; '.join(found)

    made = Log()
    if not hasattr(trt, '_gpu'):
        _LOGS[trt] = made
    return made


def make_recorder(trt):
    """Return an error recorder that keeps (code, text)."""
    class Recorder(trt.IErrorRecorder):

        def __init__(self):
            trt.IErrorRecorder.__init__(self)
            self.heard = []

        def report_error(self, val, desc):
            self.heard.append((val, desc))
            return False

        def num_errors(self):
            return len(self.heard)

        get_num_errors = num_errors

        def has_overflowed(self):
            return False

        def clear(self):
            self.heard.clear()

    return Recorder()


@dataclass
class Bench:
    """What an inference needs."""

    trt: Any
    cuda: Any
    gpu: Any
    log: Any
    engine: Any
    context: Any
    stream: Any
    buffers: dict

    def bind(self, name, nbytes):
        """Allocate and bind a tensor."""
        self.buffers[name] = self.cuda.mem_alloc(nbytes)
        assert self.context.set_tensor_address(name, int(self.buffers[name]))

    def enqueue(self):
        """Enqueue an inference."""
        return self.context.execute_async_v3(self.stream.handle)

    def put(self, name, array):
        """Copy an input, at once."""
        self.cuda.memcpy_htod(self.buffers[name], np.ascontiguousarray(array))

    def get(self, name, shape, dtype=np.float32):
        """Copy an output, at once."""
        array = np.empty(shape, dtype)
        self.cuda.memcpy_dtoh(array, self.buffers[name])
        return array


def load(gpu, trt, log, plan, recorder=None, **settings):
    """Deserialise a plan."""
    runtime = trt.Runtime(log)
    runtime.error_recorder = recorder
    for name, value in settings.items():
        setattr(runtime, name, value)
    return runtime.deserialize_cuda_engine(plan)


def real_rtx():
    """Return the real TensorRT-RTX and its generation; the test is skipped without."""
    real = pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed')
    generation = 'rtx' + '.'.join(real.__version__.split('.')[:2])
    if generation not in GENERATIONS:
        pytest.skip(f'no double of tensorrt_rtx {real.__version__}')
    return real, generation
