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

"""Engines for the GPU of this machine, built once."""

from pathlib import Path
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / 'dev', ROOT / 'test' / 'runtime', ROOT / 'test' / 'doubles'):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope='session')
def network(tmp_path_factory):
    """Return the small network of the parity test as ONNX."""
    import parity_model
    return parity_model.as_onnx(tmp_path_factory.mktemp('network') / 'network.onnx')


@pytest.fixture(scope='session', params=['fp32', 'fp16'])
def subject(request, network, tmp_path_factory):
    """Return the small network as an engine for this GPU."""
    import gpu_results
    return gpu_results.subject_of(network, request.param, tmp_path_factory.mktemp('engines'))[0]


@pytest.fixture(scope='session')
def detector(tmp_path_factory):
    """Return the shipped detector as an engine for this GPU."""
    import gpu_results
    return gpu_results.subject_of(gpu_results.DETECTOR, 'fp16',
                                  tmp_path_factory.mktemp('engines'))[0]
