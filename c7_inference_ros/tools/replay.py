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
Run the models of a parameter file over the images of a bag.

.. code-block:: text

    replay BAG --params-file p.yaml --output DIR
    replay BAG --params-file p.yaml --output DIR --mode real-time
    replay BAG --params-file p.yaml --output DIR --baseline report.json
    replay BAGS --params-file p.yaml --output DIR --jobs 4

The page for users is ``docs/replay.md``.
"""

from __future__ import annotations

import sys
from typing import Sequence

from c7_inference_ros.tools.command_line import run_command
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.replaying.many_bags import replay_bags
from c7_inference_ros.tools.replaying.more_options import ManyRequest
from c7_inference_ros.tools.replaying.one_bag import replay_bag
from c7_inference_ros.tools.replaying.outputs import MARKER
from c7_inference_ros.tools.replaying.request import parse
from c7_inference_ros.tools.replaying.request import PROGRAM


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments; those of the process when None.
    :returns: 0 good, 1 the answer is no, 2 bad input, 130 and 143 after SIGINT and SIGTERM.
    """
    return run_command(PROGRAM, argv, _run, f'a folder with results that are not whole has the '
                                            f'file {MARKER} in it')


def _run(argv: list[str], console: Console) -> int:
    request = parse(argv)
    if isinstance(request, ManyRequest):
        return replay_bags(request, console)
    return replay_bag(request, console)


if __name__ == '__main__':
    sys.exit(main())
