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

"""What is to be replayed, and how: the arguments of ``replay``."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import math
from pathlib import Path
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.resources import share_folder
from c7_inference_ros.tools.command_line import CommandParser
from c7_inference_ros.tools.replaying.baseline import Limits
from c7_inference_ros.tools.replaying.more_options import add_gate_options
from c7_inference_ros.tools.replaying.more_options import add_run_options
from c7_inference_ros.tools.replaying.more_options import limits_of
from c7_inference_ros.tools.replaying.more_options import many_of
from c7_inference_ros.tools.replaying.more_options import ManyRequest
from c7_inference_ros.tools.replaying.pacing import EVERY_FRAME
from c7_inference_ros.tools.replaying.pacing import EveryFrame
from c7_inference_ros.tools.replaying.pacing import MODES
from c7_inference_ros.tools.replaying.pacing import Pacing
from c7_inference_ros.tools.replaying.pacing import REAL_TIME
from c7_inference_ros.tools.replaying.pacing import RealTime

PROGRAM = 'replay'
PICTURES, VIDEO = 'pictures', 'video'
#: What the node is called unless ``--node-name`` says otherwise; its topics are below it.
DEFAULT_NODE = 'c7_inference'
_MIN_RATE, _MAX_RATE = 0.01, 100.0


@dataclass(frozen=True)
class ReplayRequest:
    """
    One replay.

    :param bag: folder or file.
    :param params_file: of the node.
    :param output: folder of the results.
    :param node_name: whose parameters in the file, with or without namespace; or empty.
    :param mode: ``every-frame`` or ``real-time``.
    :param rate: recorded seconds in a second, in ``real-time``.
    :param topics: topic by camera, in place of those in the file; the camera may be empty when
        there is one.
    :param annotated: ``pictures``, ``video`` or empty.
    :param ground_truth: a COCO file, a topic, or ``BAG:/topic``; or empty.
    :param has_page: whether ``report.html`` is written.
    :param is_overwriting: an earlier replay in the folder may be replaced.
    :param baseline: report of an earlier replay that this one is compared with; or None.
    :param limits: what is no regression then.
    """

    bag: Path
    params_file: Path
    output: Path
    node_name: str = ''
    mode: str = EVERY_FRAME
    rate: float = 1.0
    topics: Mapping[str, str] = field(default_factory=dict)
    annotated: str = ''
    ground_truth: str = ''
    has_page: bool = True
    is_overwriting: bool = False
    baseline: Path | None = None
    limits: Limits = Limits()

    @property
    def node(self) -> str:
        """Fully qualified name of the node."""
        name = self.node_name or DEFAULT_NODE
        return name if name.startswith('/') else f'/{name}'

    def pacing(self) -> Pacing:
        """Return what delivers the images."""
        return EveryFrame() if self.mode == EVERY_FRAME else RealTime(self.rate)


def parse(argv: Sequence[str]) -> ReplayRequest | ManyRequest[ReplayRequest]:
    """
    Read the command line.

    :raises ConfigurationError: it cannot be understood.
    :raises SystemExit: after ``--help``.
    """
    parser = make_parser()
    values = parser.parse_args(argv)
    one = ReplayRequest(
        bag=Path(values.bag[0]).expanduser(),
        params_file=(Path(values.params_file).expanduser() if values.params_file
                     else share_folder() / 'config' / 'replay.yaml'),
        output=Path(values.output).expanduser(), node_name=values.node_name, mode=values.mode,
        rate=_rate(values.rate, values.mode), topics=_topics(values.topic),
        annotated=values.annotated, ground_truth=values.ground_truth,
        has_page=not values.no_html, is_overwriting=values.overwrite,
        baseline=Path(values.baseline).expanduser() if values.baseline else None,
        limits=limits_of(values))
    return many_of(parser, values, one) or one


def make_parser() -> CommandParser:
    """Return the parser of the command line."""
    parser = CommandParser(
        prog=PROGRAM,
        description='Run the models of a parameter file over the images of a bag: the pipeline of '
                    'the node, without a graph and without ROS.',
        epilog='Exit code 0: good; 1: the answer is no, and why; 2: bad input; 130: interrupted. '
               'What is written, and what each number means: docs/replay.md.')
    parser.add_argument('bag', metavar='BAG', nargs='+',
                        help='rosbag2 folder or file (sqlite3 or mcap, compressed too), or a '
                             'ROS 1 .bag; several, or a folder of them')
    parser.add_argument('--output', metavar='DIR', required=True,
                        help='folder of the results; new or empty')
    parser.add_argument('--params-file', metavar='YAML', default='',
                        help='parameters of the node; without it those of the shipped detector '
                             '(config/replay.yaml), for a bag with one camera')
    parser.add_argument('--node-name', metavar='NAME', default='',
                        help='whose parameters in the file, with its namespace; topics are named '
                             'after it')
    parser.add_argument('--mode', choices=MODES, default=EVERY_FRAME,
                        help=f'{EVERY_FRAME}: each image through each model, the same result '
                             f'every time (default); {REAL_TIME}: images at their recorded times, '
                             f'the latest wins, with the drops of a vehicle')
    parser.add_argument('--rate', metavar='R', default='',
                        help=f'recorded seconds in a second, for --mode {REAL_TIME}; 1 unless '
                             f'given')
    parser.add_argument('--topic', metavar='[CAMERA=]TOPIC', action='append', default=[],
                        help='images of a camera, where the topic of the file is not the one in '
                             'the bag; again for each camera')
    parser.add_argument('--annotated', choices=(PICTURES, VIDEO), default='',
                        help='also write the images with what was found in them')
    parser.add_argument('--ground-truth', metavar='FILE|TOPIC', default='',
                        help='what is really in the images: COCO JSON, a topic of the bag with '
                             'Detection2DArray, or BAG:/topic of another bag')
    parser.add_argument('--no-html', action='store_true',
                        help='leave report.html out, and with it the second look at the bag for '
                             'its pictures')
    parser.add_argument('--overwrite', action='store_true',
                        help='replace an earlier replay in DIR; other files in it stay')
    parser.add_argument('--json', action='store_true',
                        help='print the report as one JSON object on standard output, and nothing '
                             'else there')
    add_gate_options(parser)
    add_run_options(parser)
    return parser


def _rate(text: str, mode: str) -> float:
    if not text:
        return 1.0
    if mode != REAL_TIME:
        raise ConfigurationError(f'--rate {text} needs --mode {REAL_TIME}; {mode} waits for no '
                                 f'recorded time')
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not _MIN_RATE <= rate <= _MAX_RATE:
        raise ConfigurationError(f'--rate is {text!r}, expected a number from {_MIN_RATE:g} to '
                                 f'{_MAX_RATE:g}')
    return rate


def _topics(given: Sequence[str]) -> dict[str, str]:
    topics: dict[str, str] = {}
    for text in given:
        camera, equals, topic = text.partition('=')
        if not equals:
            camera, topic = '', text
        if not topic:
            raise ConfigurationError(f'--topic is {text!r}, expected CAMERA=TOPIC, for example '
                                     f'camera=/front/image_raw')
        if camera in topics:
            raise ConfigurationError(f'--topic names {f"camera {camera}" if camera else "a topic"}'
                                     f' more than once; say which topic is meant')
        topics[camera] = topic
    return topics
