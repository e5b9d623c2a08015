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
IHostMemory with the buffer that the real one exports: format ``f`` with items of one byte.

No class written in Python can export a buffer before Python 3.12, so that the type gets its
buffer function through the C API.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import numpy as np

_SIZE = ctypes.c_ssize_t
_BF_GETBUFFER = 1
_FORMAT = ctypes.create_string_buffer(b'f')


class _Buffer(ctypes.Structure):
    _fields_ = [('buf', ctypes.c_void_p), ('obj', ctypes.c_void_p), ('len', _SIZE),
                ('itemsize', _SIZE), ('readonly', ctypes.c_int), ('ndim', ctypes.c_int),
                ('format', ctypes.c_void_p), ('shape', ctypes.c_void_p),
                ('strides', ctypes.c_void_p), ('suboffsets', ctypes.c_void_p),
                ('internal', ctypes.c_void_p)]


class _Slot(ctypes.Structure):
    _fields_ = [('slot', ctypes.c_int), ('function', ctypes.c_void_p)]


class _Spec(ctypes.Structure):
    _fields_ = [('name', ctypes.c_char_p), ('basicsize', ctypes.c_int),
                ('itemsize', ctypes.c_int), ('flags', ctypes.c_uint),
                ('slots', ctypes.POINTER(_Slot))]


_GETBUFFER = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.py_object, ctypes.POINTER(_Buffer),
                              ctypes.c_int)


def _get_buffer(owner: Any, view: Any, _flags: int) -> int:
    buffer = view.contents
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(owner))
    buffer.buf, buffer.obj = owner._data.ctypes.data, id(owner)
    buffer.len, buffer.itemsize, buffer.readonly, buffer.ndim = owner._data.nbytes, 1, 0, 1
    buffer.format = ctypes.addressof(_FORMAT)
    buffer.shape = ctypes.addressof(owner._shape)
    buffer.strides = ctypes.addressof(owner._strides)
    buffer.suboffsets = buffer.internal = None
    return 0


class _Base:
    """Holds the bytes."""

    def __init__(self, data: Any) -> None:
        """Copy the bytes."""
        self._data = np.frombuffer(bytes(data), np.uint8).copy()
        self._shape, self._strides = _SIZE(self._data.nbytes), _SIZE(1)


@cache
def exporting_base() -> tuple[type, Any]:
    """Return a class whose objects export their bytes, and what must be kept for it."""
    function = _GETBUFFER(_get_buffer)
    slots = (_Slot * 2)(_Slot(_BF_GETBUFFER, ctypes.cast(function, ctypes.c_void_p).value),
                        _Slot(0, None))
    # Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE
    spec = _Spec(b'trt_host_memory.HostMemory', 0, 0, (1 << 18) | (1 << 10), slots)
    make = ctypes.pythonapi.PyType_FromSpecWithBases
    make.restype = ctypes.py_object
    make.argtypes = (ctypes.POINTER(_Spec), ctypes.py_object)
    return make(ctypes.byref(spec), (_Base,)), (function, slots, spec)


def make_host_memory_class(module: Any) -> type:
    """Return IHostMemory of one generation."""
    base, _ = exporting_base()

    def refuse(self: Any, *_arguments: Any) -> None:
        raise TypeError(f'{module.__name__}.IHostMemory: No constructor defined!')

    def make(cls: Any, data: Any) -> Any:
        made = object.__new__(cls)
        _Base.__init__(made, data)
        module._gpu.track('IHostMemory', made)
        return made

    return type('IHostMemory', (base,), {
        '__init__': refuse, '_make': classmethod(make), '__module__': module.__name__,
        'nbytes': property(lambda self: self._data.nbytes),
        'dtype': property(lambda self: module.DataType.INT8)})
