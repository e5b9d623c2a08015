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

"""Python and the libraries that run models: which are here, and which of them really work."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
import platform
import re
import sys
from typing import Iterable
from typing import Mapping

from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.runtime.ort.providers import CPU
from c7_inference_ros.tools.machine.findings import Finding
from c7_inference_ros.tools.machine.findings import Verdict
from c7_inference_ros.tools.machine.gpu import Gpu
from c7_inference_ros.tools.machine.libraries import ABSENT
from c7_inference_ros.tools.machine.libraries import Library
from c7_inference_ros.tools.machine.library_problems import explain
from c7_inference_ros.tools.machine.remedies import Remedies
from c7_inference_ros.tools.machine.surroundings import Surroundings

SECTION = 'Software'
#: Providers that every ONNX Runtime has and nobody needs a test of.
_NOT_TRIED = (CPU, 'AzureExecutionProvider')
_TITLES = {'numpy': 'NumPy', 'cv2': 'OpenCV', 'yaml': 'PyYAML', 'cv_bridge': 'cv_bridge',
           'onnxruntime': 'ONNX Runtime', 'tensorrt': 'TensorRT', 'tensorrt_rtx': 'TensorRT-RTX',
           'pycuda': 'PyCUDA', 'torch': 'PyTorch', 'cryptography': 'cryptography',
           'pynvml': 'pynvml'}
_PURPOSES = {
    'numpy': 'everything computes with it',
    'cv2': 'images are scaled and decoded with it',
    'yaml': 'parameter files are read with it outside of ROS',
    'cv_bridge': 'only images that are not bgr8, rgb8, mono8, bgra8 or rgba8 need it',
    'onnxruntime': 'the runtime onnx_trt_ep needs it',
    'tensorrt': 'the runtime tensorrt needs it',
    'tensorrt_rtx': 'the runtime tensorrt needs it for engines of TensorRT-RTX',
    'pycuda': 'the runtime tensorrt needs it',
    'torch': 'the runtime pytorch_fp16 needs it',
    'cryptography': 'engines.public_key and compile_engine --sign need it',
    'pynvml': 'the heat of a GPU in a PC is read with it'}
_ORDER = ('numpy', 'cv2', 'yaml', 'cv_bridge', 'onnxruntime', 'tensorrt', 'tensorrt_rtx',
          'pycuda', 'torch', 'cryptography', 'pynvml')
_OLDEST, _NEWEST = (3, 10), (3, 13)


def ask_providers(around: Surroundings, names: Iterable[str], device: int = 0
                  ) -> dict[str, Library]:
    """Return what became of a session with each execution provider, by name."""
    with ThreadPoolExecutor(2) as pool:
        asked = {name: pool.submit(around.ask, 'provider', name, str(device),
                                   timeout_s=around.timeout_s)
                 for name in dict.fromkeys(names) if name not in _NOT_TRIED}
        return {name: one.result() for name, one in asked.items()}


def software_findings(around: Surroundings, libraries: Mapping[str, Library],
                      providers: Mapping[str, Library], facts: HostFacts, gpu: Gpu,
                      needed: Iterable[str], remedies: Remedies) -> list[Finding]:
    """
    Return the lines about Python and its libraries.

    :param providers: of :func:`ask_providers`.
    :param needed: modules without which the node does not start.
    """
    needed = set(needed)
    found = [_python(around, remedies)]
    for name in _ORDER:
        library = libraries[name]
        is_needed = name in needed
        if not library.is_good:
            found.append(_bad(library, is_needed, gpu, remedies, around))
        elif name == 'tensorrt':
            found.append(_tensorrt(library, facts, is_needed, remedies))
        else:
            found.append(_good(library))
        if name == 'onnxruntime':
            found += [_provider(one, provider, remedies) for one, provider in providers.items()]
    return found


def _python(around: Surroundings, remedies: Remedies) -> Finding:
    version = platform.python_version()
    where = ', a virtual environment' if sys.prefix != sys.base_prefix else ''
    values = {'version': version, 'executable': around.python,
              'is_virtual_environment': bool(where)}
    text = f'{version}{where} ({around.python})'
    if not _OLDEST <= sys.version_info[:2] <= _NEWEST:
        return Finding(SECTION, 'Python', Verdict.WARN, text,
                       'this package is tested with 3.10 to 3.13', values=values)
    return Finding(SECTION, 'Python', Verdict.OK, text, values=values)


def _good(library: Library) -> Finding:
    details = []
    values = library.values
    if library.name == 'onnxruntime':
        names = [str(name) for name in values.get('available', ())]
        details.append(f'built with {", ".join(names)}')
    elif library.name == 'torch':
        devices = values.get('devices') or []
        cuda = values.get('cuda')
        details.append(f'for CUDA {cuda}' if cuda else 'for the CPU only')
        if cuda:
            details.append(', '.join(f'{one["name"]} SM {one["sm"]}' for one in devices)
                           or 'which finds no GPU')
    elif library.name == 'pycuda':
        details.append(f'driver {_cuda_version(values.get("driver"))}, '
                       f'{values.get("devices")} GPU(s)')
    elif library.name == 'cv_bridge':
        how = 'compiled' if values.get('compiled') else 'pure Python'
        details.append(f'{how}, works with NumPy {values.get("numpy")}')
    text = ', '.join([library.version, *details] if library.version else details) or 'works'
    verdict, advice = Verdict.OK, ''
    if library.name == 'torch' and values.get('cuda') and not values.get('devices'):
        verdict, advice = Verdict.WARN, 'the runtime pytorch_fp16 would run on the CPU'
    return Finding(SECTION, _TITLES[library.name], verdict, text, advice,
                   values=library.as_dict())


def _bad(library: Library, is_needed: bool, gpu: Gpu, remedies: Remedies,
         around: Surroundings) -> Finding:
    name, title = library.name, _TITLES[library.name]
    purpose = _PURPOSES[name]
    if library.state != ABSENT:
        advice, commands = explain(library, remedies)
        verdict = Verdict.MISSING if is_needed or name != 'cv_bridge' else Verdict.WARN
        return Finding(SECTION, title, verdict, f'installed, and does not work: {library.problem}',
                       f'{purpose}; {advice}' if advice else purpose, commands, is_needed,
                       library.as_dict())
    if name == 'tensorrt':
        packages = debian_packages(around)
        if 'libnvinfer10' in packages:
            is_hidden = 'python3-libnvinfer' in packages and not remedies.is_system_python
            command = (remedies.system_packages() if is_hidden else
                       remedies.apt('python3-libnvinfer'))
            return Finding(SECTION, title, Verdict.MISSING,
                           f'its library is installed ({packages["libnvinfer10"]}), its Python '
                           f'module is not here', purpose, (command,), is_needed,
                           {**library.as_dict(), 'packages': packages})
    if not is_needed and not _is_useful(name, gpu):
        return Finding(SECTION, title, Verdict.OK, 'not installed, and not needed', purpose,
                       values=library.as_dict())
    return Finding(SECTION, title, Verdict.MISSING, 'not installed', purpose,
                   remedies.ros(around.environ.get('ROS_DISTRO', ''), 'cv_bridge')
                   if name == 'cv_bridge' else remedies.module(name), is_needed,
                   library.as_dict())


def _is_useful(name: str, gpu: Gpu) -> bool:
    """Return whether something that nobody asked for would be of use on this machine."""
    if name in ('tensorrt', 'pycuda'):
        return gpu.is_there
    if name == 'pynvml':
        return gpu.is_there and not gpu.is_shared
    return name in ('numpy', 'cv2', 'onnxruntime', 'yaml')


def _tensorrt(library: Library, facts: HostFacts, is_needed: bool, remedies: Remedies) -> Finding:
    binding = library.version or facts.versions.get('tensorrt', '')
    found = {name: version_of(str(number)) for name, number in (
        library.values.get('libraries') or {}).items()}
    own = {name: version for name, version in found.items()
           if version.partition('.')[0] == binding.partition('.')[0]}
    values = {**library.as_dict(), 'binding': binding, 'libraries': found}
    listed = ', '.join(f'{name} is {version}' for name, version in own.items())
    if not own:
        return Finding(SECTION, 'TensorRT', Verdict.OK,
                       f'{binding}, its library is its own', values=values)
    if all(binding.split('.')[:3] == version.split('.') for version in own.values()):
        return Finding(SECTION, 'TensorRT', Verdict.OK, f'{binding}, and {listed}', values=values)
    return Finding(SECTION, 'TensorRT', Verdict.MISSING if is_needed else Verdict.WARN,
                   f'its Python module is {binding}, and {listed}',
                   'engines carry the version of the library, and are looked for by that of the '
                   'module: none would be accepted', remedies.module('tensorrt')
                   if remedies.is_jetson else remedies.again('tensorrt'), is_needed, values)


def _provider(name: str, provider: Library, remedies: Remedies) -> Finding:
    loaded = provider.values.get('loaded') or []
    values = {**provider.as_dict(), 'provider': name}
    if provider.is_good and name in loaded:
        return Finding(SECTION, name, Verdict.OK, 'loads, and runs a model', values=values)
    if provider.is_good:
        why = _first_error(provider.said)
        return Finding(SECTION, name, Verdict.MISSING,
                       f'does not load, the session has {", ".join(map(str, loaded))}'
                       + (f': {why}' if why else ''), *explain(provider, remedies),
                       values=values)
    return Finding(SECTION, name, Verdict.MISSING, f'does not load: {provider.problem}',
                   *explain(provider, remedies), values=values)


def _first_error(said: str) -> str:
    lines = [' '.join(line.split()) for line in said.splitlines()]
    found = next((line for line in lines if 'cannot open shared object' in line
                  or 'rror' in line), '')
    return found[-300:]


def version_of(number: str) -> str:
    """Return 10.3.0 for 100300, as libraries of TensorRT number themselves."""
    if not number.isdigit():
        return number
    value = int(number)
    if value < 100000:
        return f'{value // 1000}.{value // 100 % 10}.{value % 100}'
    return f'{value // 10000}.{value // 100 % 100}.{value % 100}'


def debian_packages(around: Surroundings) -> dict[str, str]:
    """Return the versions of the installed Debian packages of TensorRT."""
    text = around.text('var/lib/dpkg/status') or ''
    found = {}
    for block in re.finditer(r'^Package: ((?:python3-)?libnvinfer\d*)\n((?:.+\n)*)', text,
                             re.MULTILINE):
        version = re.search(r'^Version: (\S+)$', block[2], re.MULTILINE)
        if version and 'Status: install ok installed' in block[2]:
            found[block[1]] = version[1]
    return found


def _cuda_version(number: object) -> str:
    return f'{number // 1000}.{number % 1000 // 10}' if isinstance(number, int) else 'unknown'
