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

"""
The node on the doubles of TensorRT and CUDA, in a process of its own.

SIGUSR1 loses the GPU as an illegal address would; SIGUSR2 lets it hang.
"""

import operator
from pathlib import Path
import signal
import sys
import threading
from types import SimpleNamespace

TEST = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TEST / 'doubles'), str(TEST / 'runtime')]

GENERATION = '10.3'
#: What the tests tell nvidia-smi to answer.
NAME, CAPABILITY = 'Simulated GPU', (9, 0)


#: The part of pytest's monkeypatch that the doubles need; nothing is put back.
PATCH = SimpleNamespace(setitem=operator.setitem, setattr=setattr)


def main():
    """Replace the modules, and run the node."""
    from c7_inference_ros.engines import host
    from c7_inference_ros.node import inference_node
    from c7_inference_ros.runtime.trt import runtime as tensorrt_runtime
    from doubles_install import install
    from trt_plan import version_of

    doubles = install(PATCH, GENERATION, name=NAME, compute_capability=CAPABILITY)
    # They are in sys.modules, where no file of theirs can be looked for.
    tensorrt_runtime._check_installed = lambda packages: None
    host.installed_version = {'tensorrt': version_of(GENERATION)}.get
    signal.signal(signal.SIGUSR1, lambda number, frame: doubles.gpu.fail('kernel', 700))
    signal.signal(signal.SIGUSR2, lambda number, frame: doubles.gpu.hang())
    status = inference_node.main()
    doubles.gpu.resume()
    for thread in threading.enumerate():
        if thread.name == 'inference_worker':  # given up while the GPU hung
            thread.join(10.0)
    doubles.assert_released()
    print('nothing is left on the GPU', flush=True)
    return status


if __name__ == '__main__':
    sys.exit(main())
