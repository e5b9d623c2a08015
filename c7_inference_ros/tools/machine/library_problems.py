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

"""Why a library that is installed does not work, and what mends it."""

from __future__ import annotations

import re

from c7_inference_ros.tools.machine.libraries import BROKEN
from c7_inference_ros.tools.machine.libraries import CRASHED
from c7_inference_ros.tools.machine.libraries import HUNG
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.remedies import Remedies

_NUMPY = re.compile(r'compiled using NumPy 1|numpy\.core\.multiarray failed|_ARRAY_API not found'
                    r'|numpy\.dtype size changed|module compiled against (?:ABI|API) version')
_SHARED = re.compile(r'([\w.+-]+\.so(?:\.\d+)*): cannot open shared object file')
#: Debian packages by what the name of a library begins with.
_LIBRARIES = {'libGL.so': 'libgl1', 'libgthread-2.0': 'libglib2.0-0', 'libSM.so': 'libsm6',
              'libglib-2.0': 'libglib2.0-0', 'libXext.so': 'libxext6', 'libgomp.so': 'libgomp1'}
_TENSORRT = ('libnvinfer', 'libnvonnxparser')
_CUDA = ('libcudart', 'libcublas', 'libcudnn', 'libcufft', 'libcurand', 'libcusparse', 'libnvrtc')


def explain(library: Library, remedies: Remedies) -> tuple[str, tuple[str, ...]]:
    """Return (what is wrong, what to type) of a library that does not work."""
    text = f'{library.problem}\n{library.said}'
    if _NUMPY.search(text):
        return ('it was built for another NumPy than is installed', (remedies.pip('numpy<2'),))
    shared = _SHARED.search(text)
    if shared:
        return _shared(shared[1], library.name, remedies)
    if library.state == HUNG:
        return ('the driver or the library hangs; look into the kernel log',
                (remedies.root('dmesg | tail -n 50'),))
    if library.state == CRASHED:
        if 'SIGILL' in library.problem:
            return ('it was built for another processor', remedies.again(library.name))
        return ('it was built for other libraries or another driver than are here',
                remedies.again(library.name))
    if library.state == BROKEN and library.missing:
        return (f'it needs the module {library.missing}',
                remedies.module(library.missing.partition('.')[0]))
    if library.state == BROKEN:
        return ('install it anew', remedies.again(library.name))
    return ('', ())


def _shared(name: str, module: str, remedies: Remedies) -> tuple[str, tuple[str, ...]]:
    text = f'{name} is not here'
    if name.startswith('libcuda.so'):
        if remedies.in_container:
            return (f'{text}: the container has no GPU',
                    ('docker run --gpus all -e NVIDIA_DRIVER_CAPABILITIES=compute,utility ...',))
        return (f'{text}: it comes with the NVIDIA driver', ('nvidia-smi',))
    if name == 'libGL.so.1' and module == 'cv2' and not remedies.has_apt:
        return (text, (remedies.pip('opencv-python-headless'),))
    for begin, package in _LIBRARIES.items():
        if name.startswith(begin) and remedies.has_apt:
            return (text, (remedies.apt(package),))
    if name.startswith(_TENSORRT):
        return (f'{text}: it comes with TensorRT', remedies.module('tensorrt'))
    if name.startswith(_CUDA):
        major = re.search(r'\.so\.(\d+)', name)
        which = f' {major[1]}' if major and not name.startswith('libcudnn') else ''
        return (f'{text}: it comes with CUDA{which} or cuDNN, of the version that {module} was '
                f'built for', (f'ldconfig -p | grep {name.partition(".so")[0]}',))
    return (text, (f'ldconfig -p | grep {name.partition(".so")[0]}',))
