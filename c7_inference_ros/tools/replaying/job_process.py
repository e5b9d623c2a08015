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

"""The process that replays one bag of many."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from c7_inference_ros.tools import replay
from c7_inference_ros.tools.console import NO

_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Replay one bag for the process that is named first, and end when that one ends."""
    parent, *argv = sys.argv[1:]
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, 'prctl'):
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != int(parent):
            return NO
    return replay.main(argv)


if __name__ == '__main__':
    sys.exit(main())
