#!/usr/bin/env python3
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
Show what shedding of load does for a board that gets hot: observe against shed, in simulated time.

Both run over the same weather, through the real intake, scheduler, frame processor, load shedder
and thermal source, which reads a sysfs tree that the simulation writes. The heat itself, the
governor and the time that a model takes are simulated; ``hot_board/board.py`` has the constants.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
from pathlib import Path
import sys
from typing import Sequence

ROOT = Path(__file__).resolve().parent.parent
FORMATS = ('.png', '.svg', '.pdf')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run both policies; return 0 when every claim holds, 1 when not, 2 for bad input."""
    options = parse(arguments)
    needed = ['numpy'] + ['matplotlib'] * (options.output is not None)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        print(f'hot_board: {sys.executable} lacks {", ".join(missing)}; run `dev/run python '
              f'dev/hot_board.py`', file=sys.stderr)
        return 2
    # The package of this checkout, also where another one is installed; the boards of its tests.
    sys.path[1:1] = [str(ROOT), str(ROOT / 'test' / 'thermal')]
    from hot_board import summary
    from hot_board.board import BoardModel
    from hot_board.board import Weather
    from hot_board.simulation import configuration
    from hot_board.simulation import simulate
    model, weather = BoardModel(), Weather()
    observe, shed = (simulate(policy, weather, model) for policy in ('observe', 'shed'))
    found = summary.as_dict(observe, shed, model, weather)
    if options.output is not None:
        from hot_board.picture import draw
        try:
            draw(options.output, observe, shed, model,
                 summary.age_bound(model, weather, configuration('shed')))
        except OSError as error:
            print(f'hot_board: --output {options.output} cannot be written: {error.strerror}; '
                  f'name a file that may be written', file=sys.stderr)
            return 2
    print(json.dumps(found, indent=2) if options.json else '\n'.join(summary.table(found)))
    return 0 if all(found['checks'].values()) else 1


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the user asked for; bad arguments end the program with exit code 2."""
    parser = argparse.ArgumentParser(prog='hot_board', description=(
        'Simulate a board that gets hot, with thermal.policy observe and shed. Exit code 0: every '
        'claim holds; 1: one does not; 2: bad input.'))
    parser.add_argument('--output', type=Path, metavar='FILE',
                        help='draw both runs into this file: .png, .svg or .pdf')
    parser.add_argument('--json', action='store_true',
                        help='print everything as JSON instead of a table')
    options = parser.parse_args(arguments)
    if options.output is not None and options.output.suffix not in FORMATS:
        parser.error(f'--output {options.output}: expected a file that ends in '
                     f'{", ".join(FORMATS)}')
    if options.output is not None and not options.output.parent.is_dir():
        parser.error(f'--output {options.output}: there is no folder {options.output.parent}; '
                     f'name a file in one that exists')
    return options


if __name__ == '__main__':
    sys.exit(main())
