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

"""Work that only one thread may do."""

from __future__ import annotations

import threading

from c7_inference_ros.errors import InferenceError


class OwnerThread:
    """The calling thread, remembered."""

    def __init__(self) -> None:
        """Remember who calls."""
        self._ident = threading.get_ident()
        self._name = threading.current_thread().name

    @property
    def is_current(self) -> bool:
        """Whether the caller is that thread."""
        return threading.get_ident() == self._ident

    def check(self, what: str) -> None:
        """
        Refuse a call from another thread.

        :param what: what belongs to the thread.
        :raises InferenceError: the caller is another thread.
        """
        if threading.get_ident() != self._ident:
            raise InferenceError(
                f'{what} belongs to thread {self._name!r}, the call came from '
                f'{threading.current_thread().name!r}; CUDA contexts are bound to threads: make '
                f'every call from the thread that loaded the first model')
