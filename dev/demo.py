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
Play a street clip into the node and show what comes out.

The node is a process of its own, started with the command, launch values and YAML of a user. This
program is its lifecycle manager, plays a rosbag2 into it over DDS in real time and records.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
from pathlib import Path
import signal
import sys
from typing import Sequence

ROOT = Path(__file__).resolve().parent.parent
CLIP_FRAMES = 250
NEEDED = ('numpy', 'cv2', 'yaml', 'tqdm', 'matplotlib', 'onnxruntime', 'rosbags', 'rclpy',
          'rosgraph_msgs', 'lifecycle_msgs', 'sensor_msgs', 'diagnostic_msgs', 'vision_msgs')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return 0 when all is well, 1 when it is not, 2 for bad input."""
    options = parse(arguments)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        print(f'demo: {sys.executable} lacks {", ".join(missing)}; run `make demo`, which builds '
              f'the environment, or `source dev/env.sh` first', file=sys.stderr)
        return 2
    # The package of this checkout, also where another one is installed.
    sys.path.insert(1, str(ROOT))
    from demo.errors import DemoError
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        from demo.run import Demo
        return Demo(options).run()
    except DemoError as error:
        print(f'demo: {error}', file=sys.stderr)
        for line in error.details:
            print(f'    {line}', file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output is gone; Python would complain once more when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        print('\ndemo: interrupted; nothing was left running', file=sys.stderr)
        return 130


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what the user asked for; bad arguments end the program with exit code 2."""
    parser = argparse.ArgumentParser(prog='demo', description=(
        'Play a street clip into the node over DDS and show what comes out. Exit code 0: all is '
        'well; 1: it is not, and why; 2: bad input.'))
    parser.add_argument('--model', type=Path, metavar='FILE',
                        help='another ONNX model; FILE with .yaml for .onnx describes it, else '
                             'its family is found out and the usual preprocessing assumed')
    parser.add_argument('--labels', default='', metavar='FILE',
                        help='class names of the model, one a line')
    parser.add_argument('--decoder', default='auto', metavar='NAME',
                        help='what the outputs of the model mean, where that is not clear')
    parser.add_argument('--output', type=Path, default=ROOT / 'demo_output', metavar='FOLDER',
                        help='folder for the results (demo_output); an earlier run in it is '
                             'removed')
    parser.add_argument('--frames', type=_frame_count, default=CLIP_FRAMES, metavar='N',
                        help=f'play only the first N of {CLIP_FRAMES} images')
    parser.add_argument('--domain-id', type=int, metavar='N',
                        help='ROS domain to use instead of a free one')
    parser.add_argument('--json', action='store_true',
                        help='print only the summary, as JSON, on standard output')
    options = parser.parse_args(arguments)
    if options.model is None and (options.labels or options.decoder != 'auto'):
        parser.error('--labels and --decoder describe a model: name it with --model')
    return options


def _frame_count(text: str) -> int:
    try:
        count = int(text)
    except ValueError:
        count = 0
    if not 1 <= count <= CLIP_FRAMES:
        raise argparse.ArgumentTypeError(f'{text!r}, expected 1 to {CLIP_FRAMES}')
    return count


def _interrupt(number, frame):
    raise KeyboardInterrupt


if __name__ == '__main__':
    sys.exit(main())
