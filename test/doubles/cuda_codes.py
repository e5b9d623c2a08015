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

"""Codes and texts of the CUDA driver, and the exception that carries one through the doubles."""

from __future__ import annotations

SUCCESS = 0
INVALID_VALUE = 1
OUT_OF_MEMORY = 2
NOT_INITIALIZED = 3
NO_DEVICE = 100
INVALID_DEVICE = 101
INVALID_CONTEXT = 201
ECC_UNCORRECTABLE = 214
INVALID_HANDLE = 400
NOT_READY = 600
ILLEGAL_ADDRESS = 700
LAUNCH_TIMEOUT = 702
CONTEXT_IS_DESTROYED = 709
LAUNCH_FAILED = 719
NOT_SUPPORTED = 801
CAPTURE_UNSUPPORTED = 900
CAPTURE_INVALIDATED = 901
CAPTURE_UNMATCHED = 903
CAPTURE_IMPLICIT = 906
CAPTURE_WRONG_THREAD = 908
UNKNOWN = 999

#: Name and text of each code, as cuGetErrorName and cuGetErrorString give them.
TEXTS = {
    SUCCESS: ('CUDA_SUCCESS', 'no error'),
    INVALID_VALUE: ('CUDA_ERROR_INVALID_VALUE', 'invalid argument'),
    OUT_OF_MEMORY: ('CUDA_ERROR_OUT_OF_MEMORY', 'out of memory'),
    NOT_INITIALIZED: ('CUDA_ERROR_NOT_INITIALIZED', 'initialization error'),
    NO_DEVICE: ('CUDA_ERROR_NO_DEVICE', 'no CUDA-capable device is detected'),
    INVALID_DEVICE: ('CUDA_ERROR_INVALID_DEVICE', 'invalid device ordinal'),
    INVALID_CONTEXT: ('CUDA_ERROR_INVALID_CONTEXT', 'invalid device context'),
    ECC_UNCORRECTABLE: ('CUDA_ERROR_ECC_UNCORRECTABLE',
                        'uncorrectable ECC error encountered'),
    INVALID_HANDLE: ('CUDA_ERROR_INVALID_HANDLE', 'invalid resource handle'),
    NOT_READY: ('CUDA_ERROR_NOT_READY', 'device not ready'),
    ILLEGAL_ADDRESS: ('CUDA_ERROR_ILLEGAL_ADDRESS',
                      'an illegal memory access was encountered'),
    LAUNCH_TIMEOUT: ('CUDA_ERROR_LAUNCH_TIMEOUT', 'the launch timed out and was terminated'),
    CONTEXT_IS_DESTROYED: ('CUDA_ERROR_CONTEXT_IS_DESTROYED', 'context is destroyed'),
    LAUNCH_FAILED: ('CUDA_ERROR_LAUNCH_FAILED', 'unspecified launch failure'),
    NOT_SUPPORTED: ('CUDA_ERROR_NOT_SUPPORTED', 'operation not supported'),
    CAPTURE_UNSUPPORTED: ('CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED',
                          'operation not permitted when stream is capturing'),
    CAPTURE_INVALIDATED: ('CUDA_ERROR_STREAM_CAPTURE_INVALIDATED',
                          'operation failed due to a previous error during capture'),
    CAPTURE_UNMATCHED: ('CUDA_ERROR_STREAM_CAPTURE_UNMATCHED',
                        'capture was not initiated in this stream'),
    CAPTURE_IMPLICIT: ('CUDA_ERROR_STREAM_CAPTURE_IMPLICIT',
                       'operation would make the legacy stream depend on a capturing blocking '
                       'stream'),
    CAPTURE_WRONG_THREAD: ('CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD',
                           'attempt to terminate a thread-local capture sequence from another '
                           'thread'),
    UNKNOWN: ('CUDA_ERROR_UNKNOWN', 'unknown error'),
}

#: After one of these every call in the context fails with it until the context is made anew.
STICKY = (ILLEGAL_ADDRESS, LAUNCH_TIMEOUT, LAUNCH_FAILED, ECC_UNCORRECTABLE)


class CudaCallError(Exception):
    """
    A driver call that did not return success.

    :param function: the driver function, for example ``cuMemAlloc``.
    :param code: what it returned.
    :param note: what a wrapper adds.
    """

    def __init__(self, function: str, code: int, note: str = '') -> None:
        """Make the message that PyCUDA makes of it."""
        self.function, self.code = function, code
        text = TEXTS.get(code, TEXTS[UNKNOWN])[1]
        super().__init__(f'{function} failed: {text}' + (f' - {note}' if note else ''))
