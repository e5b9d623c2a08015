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

"""The command line of ``tune``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools import setting_values
from c7_inference_ros.tools.command_line import CommandParser
from c7_inference_ros.tools.tuning.choose import Wish

PROGRAM = 'tune'
_EXIT_CODES = ('Exit code 0: written, and better or as good; 1: no setting does what was asked, '
               'and why; 2: bad input; 130: interrupted. Everything else: docs/tune.md.')


@dataclass(frozen=True)
class TuneRequest:
    """
    What the command line asks for.

    :param source: a folder of pictures, or a bag.
    :param parameters: the parameter file.
    :param output: the file to write.
    :param plot: the picture to write.
    :param truth: what ``--ground-truth`` says.
    :param wish: what is best.
    :param classes: only these are tuned; empty for all with enough objects.
    :param min_objects: fewer labelled objects of a class tune nothing.
    :param holdout: share of the pictures that are kept aside, 0..1.
    :param least_overlap: intersection over union that makes a detection right.
    :param is_nms_kept: whether ``nms_threshold`` stays.
    :param topics: image topic by camera.
    """

    source: Path
    parameters: Path
    output: Path
    plot: Path
    truth: str
    wish: Wish
    classes: tuple[str, ...]
    min_objects: int
    holdout: float
    least_overlap: float
    is_nms_kept: bool
    model_name: str
    node_name: str
    topics: Mapping[str, str]


def parse(argv: Sequence[str]) -> TuneRequest:
    """
    Read the command line.

    :raises ConfigurationError: with one line for everything that cannot be used.
    :raises SystemExit: after ``--help``.
    """
    values = vars(_parser().parse_args(argv))
    problems: list[str] = []

    def read(name: str, reader: Any, shown: str = '') -> Any:
        try:
            return reader(values[name])
        except setting_values.ValueProblem as problem:
            problems.append(f'{shown or "--" + name.replace("_", "-")} is {values[name]!r}, '
                            f'{problem}')
            return None

    source = read('source', setting_values.path, 'SOURCE')
    parameters = read('params_file', setting_values.path)
    output = read('output', setting_values.path)
    plot = read('plot', setting_values.path) if values['plot'] else None
    share = setting_values.number(0.0, 1.0)
    precision = None if values['min_precision'] is None else read('min_precision', share)
    holdout = read('holdout', setting_values.number(0.0, 0.9))
    overlap = read('iou', setting_values.number(0.05, 1.0))
    objects = read('min_objects', setting_values.integer(1, 1_000_000))
    truth = read('ground_truth', setting_values.text)
    if values['average'] and values['scope'] == 'class':
        problems.append('--average tells how one threshold for all classes is judged, it says '
                        'nothing with --scope class; leave it out')
    if values['average'] and precision is not None:
        problems.append('--average says nothing with --min-precision, which is held over all '
                        'boxes; leave one of them out')
    wish = Wish(values['scope'] == 'class', values['average'] == 'micro', precision)
    if values['class'] and wish.is_over_all_boxes:
        problems.append('--class says nothing where all boxes are judged together; add --scope '
                        'class, or leave it out')
    topics = {}
    for one in values['topic']:
        camera, equals, topic = one.partition('=')
        if not (camera and equals and topic):
            problems.append(f'--topic is {one!r}, expected CAMERA=TOPIC')
        topics[camera] = topic
    if problems:
        raise ConfigurationError(problems)
    plot = plot or output.with_suffix('.png')
    _check_targets(parameters, output, plot, values['overwrite'])
    return TuneRequest(
        source, parameters, output, plot, truth,
        wish, tuple(values['class']), objects, holdout, overlap, values['keep_nms'],
        values['model_name'], values['node_name'], topics)


def _check_targets(parameters: Path, output: Path, plot: Path, may_replace: bool) -> None:
    for path in (output, plot):
        if not path.parent.is_dir():
            raise ConfigurationError(f'{path} cannot be written: {path.parent} is no folder; '
                                     f'create it, or correct it')
        if path.is_dir():
            raise ConfigurationError(f'{path} is a folder, expected the name of a file')
    if output == plot:
        raise ConfigurationError(f'--output and --plot are both {output}; give them two names')
    if may_replace:
        return
    if output.exists() and parameters.exists() and output.samefile(parameters):
        raise ConfigurationError(f'--output is the parameter file itself, {output}; choose '
                                 f'another name, or add --overwrite')
    for path in (output, plot):
        if path.exists():
            raise ConfigurationError(f'{path} is there already; choose another name, or add '
                                     f'--overwrite')


def _parser() -> CommandParser:
    parser = CommandParser(prog=PROGRAM, epilog=_EXIT_CODES, description=(
        'Find the score and NMS thresholds with which a model does best on labelled pictures, '
        'and write them into a copy of the parameter file.'))
    add = parser.add_argument
    add('source', metavar='FOLDER|BAG', help='pictures, or a rosbag')
    add('--params-file', required=True, metavar='YAML', help='parameters of the node')
    add('--ground-truth', required=True, metavar='FILE|TOPIC', help=(
        'COCO JSON; or a topic with Detection2DArray of the bag, or BAG:/topic of another'))
    add('--output', required=True, metavar='YAML', help='the file to write')
    add('--overwrite', action='store_true', help='replace files that are there, also the '
                                                 'parameter file itself')
    add('--plot', metavar='PNG', help='the curve; beside the output when not given')
    add('--model-name', default='', metavar='NAME', help='needed where there are several')
    add('--node-name', default='', metavar='NAME', help='whose parameters, where the file has '
                                                        'those of several nodes')
    add('--topic', action='append', default=[], metavar='CAMERA=TOPIC', help=(
        'images of a camera, in place of the topic of the parameter file'))
    add('--scope', choices=('global', 'class'), default='global', help=(
        'one score threshold for all classes that have none of their own, or one for each class '
        '(default: global)'))
    add('--average', choices=('macro', 'micro'), help=(
        'what one threshold for all is judged by: mean F1 of the classes, or F1 of all boxes '
        '(default: macro)'))
    add('--min-precision', metavar='P', help='hold this precision and find as much as possible, '
                                             'in place of the highest F1')
    add('--class', action='append', default=[], metavar='NAME', help=(
        'tune only this class; may be given more than once'))
    add('--min-objects', default='30', metavar='N', help=(
        'a class with fewer labelled objects keeps its threshold (default: 30)'))
    add('--holdout', default='0.3', metavar='SHARE', help=(
        'share of the pictures that are kept aside to judge the result with (default: 0.3)'))
    add('--iou', default='0.5', metavar='OVERLAP', help=(
        'intersection over union that makes a detection right (default: 0.5)'))
    add('--keep-nms', action='store_true', help='leave nms_threshold as it is')
    add('--json', action='store_true', help='print one JSON object')
    return parser
