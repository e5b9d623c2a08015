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
Runs in a process of its own: loads one library, and says step by step what it is.

A library that was built for something else ends the process or never returns. Then what was said
before stands, and which step it was.
"""

from __future__ import annotations

import importlib
from importlib import metadata
import json
import os
from typing import Any
from typing import Callable

Tell = Callable[..., None]


def main(arguments: list[str]) -> None:
    """
    Probe one library.

    :param arguments: name of the library, then what else its probe takes.
    """
    # Libraries print what they like; this is kept from what is said here.
    out = os.fdopen(os.dup(1), 'w', encoding='utf-8')
    os.dup2(2, 1)

    def tell(step: str, **values: Any) -> None:
        print(json.dumps({'step': step, **values}), file=out, flush=True)

    try:
        PROBES[arguments[0]](tell, *arguments[1:])
    except BaseException as error:
        name = error.name if isinstance(error, ModuleNotFoundError) else None
        tell('', error=f'{type(error).__name__}: {" ".join(str(error).split())[:600]}',
             missing=name or '')
    else:
        tell('done')
    # Some libraries crash while they are torn down, which says nothing any more.
    os._exit(0)


def _load(tell: Tell, module: str) -> Any:
    tell('import')
    loaded = importlib.import_module(module)
    tell('look', version=str(getattr(loaded, '__version__', '')),
         path=str(getattr(loaded, '__file__', '') or ''))
    return loaded


def _numpy(tell: Tell) -> None:
    module = _load(tell, 'numpy')
    tell('compute')
    module.dot(module.ones((4, 4), 'float32'), module.ones((4, 4), 'float32'))


def _plain(module: str) -> Callable[[Tell], None]:
    def probe(tell: Tell) -> None:
        _load(tell, module)
    return probe


def _cv2(tell: Tell) -> None:
    module, numpy = _load(tell, 'cv2'), importlib.import_module('numpy')
    tell('scale a picture')
    picture = numpy.zeros((8, 8, 3), 'uint8')
    module.resize(picture, (4, 4))
    tell('decode a JPEG')
    _, data = module.imencode('.jpg', picture)
    if module.imdecode(data, module.IMREAD_COLOR) is None:
        raise RuntimeError('it does not decode a JPEG')
    tell('look', numpy=numpy.__version__)


def _cv_bridge(tell: Tell) -> None:
    module, numpy = _load(tell, 'cv_bridge'), importlib.import_module('numpy')
    tell('load its compiled part', numpy=numpy.__version__)
    try:
        part = importlib.import_module('cv_bridge.boost.cv_bridge_boost')
        # A build without Boost has a part of this name in Python.
        tell('look', compiled=str(part.__file__).endswith('.so'))
    except ModuleNotFoundError:
        tell('look', compiled=False)
    try:
        importlib.import_module('sensor_msgs.msg')
    except ImportError:
        return
    tell('convert a picture')
    bridge = module.CvBridge()
    picture = numpy.full((2, 2, 3), (1, 2, 3), 'uint8')
    message = bridge.cv2_to_imgmsg(picture, 'bgr8')
    if bridge.imgmsg_to_cv2(message, 'rgb8').tolist()[0][0] != [3, 2, 1]:
        raise RuntimeError('it converts a picture wrongly')


def _tensorrt(tell: Tell) -> None:
    module = _load(tell, 'tensorrt')
    tell('make its logger')
    module.Logger(module.Logger.ERROR)
    tell('ask its library')
    from c7_inference_ros.runtime.cuda.query import tensorrt_versions
    tell('look', libraries=dict(tensorrt_versions()))


def _tensorrt_rtx(tell: Tell) -> None:
    module = _load(tell, 'tensorrt_rtx')
    tell('make its logger')
    module.Logger(module.Logger.ERROR)


def _pycuda(tell: Tell) -> None:
    package = _load(tell, 'pycuda')
    tell('look', version=str(getattr(package, 'VERSION_TEXT', '')))
    tell('load the driver')
    driver = importlib.import_module('pycuda.driver')
    tell('start the driver', built_for=list(driver.get_version()))
    driver.init()
    tell('look', driver=driver.get_driver_version(), devices=driver.Device.count())


def _onnxruntime(tell: Tell) -> None:
    module = _load(tell, 'onnxruntime')
    tell('ask for its providers')
    tell('look', available=list(module.get_available_providers()),
         known=list(module.get_all_providers()))
    tell('run on the CPU')
    _identity(module, ['CPUExecutionProvider'])


def _provider(tell: Tell, name: str, device: str) -> None:
    module = _load(tell, 'onnxruntime')
    module.set_default_logger_severity(3)
    tell(f'load {name}')
    options = {'device_id': device} if name in (
        'CUDAExecutionProvider', 'TensorrtExecutionProvider') else {}
    tell('look', loaded=_identity(module, [(name, options)]))


def _identity(module: Any, providers: list[Any]) -> list[str]:
    """Run a model of one operator; return the providers that its session has."""
    numpy = importlib.import_module('numpy')
    options = module.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = module.InferenceSession(identity_model(), options, providers=providers)
    answer = session.run(None, {'x': numpy.ones(1, 'float32')})[0]
    if answer.tolist() != [1.0]:
        raise RuntimeError(f'it computes {answer.tolist()} instead of [1.0]')
    return list(session.get_providers())


def identity_model() -> bytes:
    """Return an ONNX model with one operator: y = Identity(x), float32 [1]."""
    def message(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    def tensor(name: bytes) -> bytes:
        shape = message(2, message(1, b'\x08\x01'))
        return message(1, name) + message(2, message(1, b'\x08\x01' + shape))

    node = message(1, b'x') + message(2, b'y') + message(4, b'Identity')
    graph = (message(1, node) + message(2, b'graph') + message(11, tensor(b'x'))
             + message(12, tensor(b'y')))
    return b'\x08\x08' + message(7, graph) + message(8, message(1, b'') + b'\x10\x0d')


def _torch(tell: Tell) -> None:
    module = _load(tell, 'torch')
    tell('look', cuda=module.version.cuda or '')
    tell('look for a GPU')
    count = module.cuda.device_count() if module.cuda.is_available() else 0
    tell('look', devices=[{'name': module.cuda.get_device_name(number),
                           'sm': '{}{}'.format(*module.cuda.get_device_capability(number))}
                          for number in range(count)])


def _rclpy(tell: Tell, *messages: str) -> None:
    module = _load(tell, 'rclpy')
    try:
        tell('look', version=metadata.version('rclpy'))
    except metadata.PackageNotFoundError:
        pass
    absent = []
    for name in messages:
        package, _, kind = name.partition('/')
        tell(f'load {name}')
        try:
            message = getattr(importlib.import_module(f'{package}.msg'), kind)
            # Loads the libraries of the message, which a package for another release lacks.
            message.__class__.__import_type_support__()
        except (ImportError, AttributeError) as error:
            absent.append(f'{name} ({" ".join(str(error).split())[:200]})')
    tell('look', absent=absent)
    tell('load the middleware')
    from_rcl = importlib.import_module('rclpy.utilities').get_rmw_implementation_identifier
    tell('look', rmw=from_rcl())
    tell('start')
    module.init(args=[])
    module.try_shutdown()


PROBES: dict[str, Callable[..., None]] = {
    'numpy': _numpy, 'cv2': _cv2, 'cv_bridge': _cv_bridge, 'tensorrt': _tensorrt,
    'tensorrt_rtx': _tensorrt_rtx, 'pycuda': _pycuda, 'onnxruntime': _onnxruntime,
    'provider': _provider, 'torch': _torch, 'rclpy': _rclpy, 'yaml': _plain('yaml'),
    'cryptography': _plain('cryptography'), 'pynvml': _plain('pynvml')}
