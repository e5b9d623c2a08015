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

"""The command line of ``compile_engine``."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any
from typing import Mapping
from typing import Sequence

from c7_inference_ros.tools.command_line import CommandParser
from c7_inference_ros.tools.compile_settings import SETTINGS

PROGRAM = 'compile_engine'
COMMANDS = ('compile', 'inspect', 'verify', 'list')
_EXIT_CODES = ('Exit code 0: good; 1: the answer is no, and why; 2: bad input; 130: interrupted. '
               'Every refusal and what to do: docs/engines.md.')


@dataclass(frozen=True)
class Arguments:
    """
    What the command line says.

    :param command: one of :data:`COMMANDS`; empty when none was given.
    :param is_json: whether standard output is to be one JSON object.
    :param values: settings of ``compile``, or the arguments of another command, by name.
    :param help_text: the help, for a command line without a command.
    """

    command: str
    is_json: bool
    values: Mapping[str, Any]
    help_text: str


def parse(argv: Sequence[str] | None) -> Arguments:
    """
    Read the command line.

    :raises ConfigurationError: it cannot be understood.
    :raises SystemExit: after ``--help``.
    """
    parser = _make_parser()
    values = vars(parser.parse_args(argv))
    command = values.pop('command', None) or ''
    is_json = values.pop('is_json', False)
    return Arguments(command, is_json, values, parser.format_help())


def _make_parser() -> argparse.ArgumentParser:
    parser = CommandParser(prog=PROGRAM, epilog=_EXIT_CODES, description=(
        'Build TensorRT engines from ONNX models, and look into those that were built.'))
    parser.add_argument('--json', dest='is_json', action='store_true',
                        help='as behind the command: print one JSON object')
    commands = parser.add_subparsers(dest='command', metavar='COMMAND', parser_class=CommandParser)
    _add_compile(commands)
    inspect = _add(commands, 'inspect', 'show what is in an engine, from its header and its '
                   'manifest; needs neither GPU nor TensorRT')
    inspect.add_argument('engine', metavar='ENGINE', help='the .engine file')
    verify = _add(commands, 'verify', 'check an engine as the node does before it loads it; needs '
                  'neither GPU nor TensorRT')
    verify.add_argument('engine', metavar='ENGINE', help='the .engine file')
    listing = _add(commands, 'list', 'show the engines in a folder, and which of them the node '
                   'would load here')
    listing.add_argument('directory', metavar='DIR', nargs='?', default='.',
                         help='the folder; the working directory unless given')
    for command in (verify, listing):
        command.add_argument('--max-accuracy-drop', metavar='DROP', default='1',
                             help='largest loss of accuracy that an engine may record')
        command.add_argument('--public-key', metavar='PEM', default='',
                             help='Ed25519 public key that must have signed the manifest')
        command.add_argument('--deployment-list', metavar='FILE', default='',
                             help='file with the SHA-256 of every engine that may be loaded, as '
                                  'sha256sum writes it')
    return parser


def _add(commands: Any, name: str, summary: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=f'{summary[0].upper()}{summary[1:]}.', epilog=_EXIT_CODES)
    # Without a default, or it would take back what was said before the command.
    command.add_argument('--json', dest='is_json', action='store_true',
                         default=argparse.SUPPRESS,
                         help='print one JSON object on standard output, and nothing else there')
    return command


def _add_compile(commands: Any) -> None:
    command = _add(commands, 'compile', 'build an engine, or find that the present one is still '
                   'what would be built')
    groups: dict[str, Any] = {}
    for setting in SETTINGS:
        if setting.is_json_only:
            continue
        group = groups.get(setting.group)
        if group is None:
            group = groups[setting.group] = command.add_argument_group(setting.group)
        # What was not given must stay absent, so that the file can say it.
        common: dict[str, Any] = {'help': setting.description.replace('%', '%%'),
                                  'default': argparse.SUPPRESS}
        if setting.name == 'model':
            command.add_argument('model', nargs='?', metavar='MODEL.onnx|CONFIG.json', **common)
        elif not setting.metavar:
            group.add_argument(setting.flag, dest=setting.name,
                               action=argparse.BooleanOptionalAction, **common)
        else:
            group.add_argument(setting.flag, dest=setting.name, metavar=setting.metavar,
                               action='append' if setting.is_list else 'store', **common)
