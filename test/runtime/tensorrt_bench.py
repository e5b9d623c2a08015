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

"""Engines that pass the gate and run on the doubles, and runtimes to load them with."""

from pathlib import Path
import sys
import threading

from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.trust.engine_folder import EngineFolder
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import EngineCacheEntry
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.runtime.memory_budget import MemoryBudget
from c7_inference_ros.runtime.trt.runtime import TensorrtRuntime
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'doubles'))

from doubles_install import install  # noqa: E402, I100
from trt_plan import make_plan  # noqa: E402
from trt_plan import NUMPY  # noqa: E402
from trt_plan import package_of  # noqa: E402
from trt_plan import Plan  # noqa: E402
from trt_plan import version_of  # noqa: E402

MIB = 1 << 20


class Bench:
    """The doubles of one generation, and a folder of engines for them."""

    def __init__(self, monkeypatch, folder, generation='10.3', gpu=None, **device):
        self.doubles = install(monkeypatch, generation, gpu, **device)
        self.gpu, self.trt = self.doubles.gpu, self.doubles.trt
        self.generation = generation
        self.folder = EngineFolder(folder)
        is_rtx = package_of(generation) == 'tensorrt_rtx'
        traits = self.gpu.traits
        self.host = HostTuple(
            ANY_SM if is_rtx else '{}{}'.format(*traits.compute_capability),
            '36.4.3' if traits.is_integrated else 'x86', package_of(generation),
            version_of(generation), traits.name)
        self.budget = MemoryBudget(64 * MIB, 4 << 30)

    def runtime(self, **changes):
        """Return a runtime for this machine."""
        settings = {'budget': self.budget, 'host': self.host, **changes}
        return TensorrtRuntime(**settings)

    def engine(self, model, name='scale', manifest=None, plan=None, **settings):
        """
        Publish an engine.

        :param manifest: fields of the manifest that say something else than the plan.
        :param plan: the bytes, where they are made already.
        :param settings: of make_plan.
        """
        settings.setdefault('sm', self.host.sm)
        data = plan or make_plan(model, self.generation, **settings)
        parsed = Plan.parse(data)
        record = manifest_of(parsed, self.host, len(data), manifest or {})
        path = self.folder.publish(engine_name(name, self.host, PrecisionMode.FP32), data, record)
        return EngineCacheEntry(path)

    def assert_released(self):
        """Fail if anything is left, on the GPU or in the ledger."""
        self.assert_released_gpu()
        assert [row.name for row in self.budget.table()] == ['total', 'total']
        for row in self.budget.table():
            assert row.predicted_bytes == 0 and not row.measured_bytes

    def assert_released_gpu(self):
        """Fail if anything is left on the GPU."""
        self.doubles.assert_released()


def manifest_of(plan, host, size, changes):
    """Return the manifest that a builder would have written for a plan."""
    def spec(tensor):
        largest = [one[tensor.name][2] for one in plan.profiles if tensor.name in one]
        return TensorSpec(
            tensor.name, np.dtype(NUMPY[tensor.dtype]), tuple(tensor.shape),
            tuple(np.max(largest, axis=0).tolist()) if largest else tuple(tensor.shape))

    profiles = tuple(
        OptimizationProfile(f'profile{index}', {
            name: tuple(tuple(shape) for shape in shapes) for name, shapes in one.items()})
        for index, one in enumerate(plan.profiles))
    inputs = tuple(spec(one) for one in plan.tensors if one.is_input)
    outputs = tuple(spec(one) for one in plan.tensors if not one.is_input)
    fields = {
        'engine_sha256': '', 'engine_bytes': 0, 'onnx_sha256': '0' * 64, 'build_key': '1' * 64,
        'host': host, 'precision': PrecisionMode.FP32, 'inputs': inputs, 'outputs': outputs,
        'profiles': profiles, 'weights_bytes': plan.weights_bytes,
        'context_bytes': tuple(plan.context_bytes),
        'io_bytes': sum(one.max_bytes or 0 for one in (*inputs, *outputs)),
        'metadata': {'producer': 'a test'}, 'branch': 'direct',
        'processing': {'decoder': 'yolox'}, 'built_at': '2026-01-01T00:00:00+00:00'}
    return EngineManifest(**{**fields, **changes})


def feed_of(handle, seed=0, shapes=None):
    """Return random inputs of a handle, at its largest shapes or others."""
    random = np.random.default_rng(seed)
    return {spec.name: (random.random((shapes or {}).get(spec.name, spec.max_shape)) * 10)
            .astype(spec.dtype) for spec in handle.inputs}


def on_thread(function):
    """Run a function on a thread of its own, and return or raise what it does."""
    found = []

    def run():
        try:
            found.append((function(), None))
        except BaseException as error:
            found.append((None, error))

    thread = threading.Thread(target=run, name='other')
    thread.start()
    thread.join()
    value, error = found[0]
    if error is not None:
        raise error
    return value
