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

"""What every command line of this package has in common: arguments, error lines, exit codes."""

from __future__ import annotations

import argparse
import sys
import traceback
from typing import Any
from typing import Callable
from typing import Iterable
from typing import NoReturn
from typing import Sequence

from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.tools.console import BAD_INPUT
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import drop_output
from c7_inference_ros.tools.console import INTERRUPTED
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.console import TERMINATED
from c7_inference_ros.tools.interruption import ending_as_interrupted
from c7_inference_ros.tools.interruption import Terminated

#: (arguments, console) to the exit code.
Run = Callable[[list[str], Console], int]


def run_command(program: str, argv: Sequence[str] | None, run: Run,
                left: str = 'nothing half-written was left') -> int:
    """
    Run a command line; every exception becomes one line and an exit code.

    :param program: begins every line on standard error.
    :param argv: arguments; those of the process when None. ``--json`` among them makes standard
        output one JSON object, whatever happens.
    :param run: does the work. Raises ConfigurationError for bad input, another C7Error where the
        answer is no.
    :param left: what an interruption leaves behind, said when there was one.
    :returns: 0 good, 1 the answer is no, 2 bad input, 130 and 143 after SIGINT and SIGTERM.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    console = Console(program, is_json='--json' in argv)
    try:
        with ending_as_interrupted():
            return run(argv, console)
    except ConfigurationError as error:
        return console.fail(error.problems, BAD_INPUT)
    except C7Error as error:
        return console.fail([str(error)], NO)
    except KeyboardInterrupt:
        return console.fail([f'interrupted; {left}'], INTERRUPTED)
    except Terminated:
        return console.fail([f'asked to end; {left}'], TERMINATED)
    except BrokenPipeError:
        drop_output()  # whoever read it is gone
        return NO
    except Exception as error:
        traceback.print_exc()
        return console.fail([f'a mistake in this program: {type(error).__name__}: {error}; '
                             f'please report it with the lines above'], NO)


class CommandParser(argparse.ArgumentParser):
    """A parser whose refusals are a ConfigurationError with the nearest known option."""

    def __init__(self, *args: Any, **options: Any) -> None:
        """Take abbreviated options for mistakes: a later option could change what they mean."""
        super().__init__(*args, **{'allow_abbrev': False, **options})

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise ConfigurationError(f'{message}{_nearest_word(self, message)}; '
                                 f'see {self.prog} --help')


def _nearest_word(parser: argparse.ArgumentParser, message: str) -> str:
    """Return a hint for an option or choice that does not exist."""
    if message.startswith('unrecognized arguments:'):
        known = [flag for one in (parser, *_commands(parser))
                 for action in one._actions for flag in action.option_strings]
        words = [word.partition('=')[0] for word in message.split()[2:] if word.startswith('-')]
        near = nearest(words[0], known) if words else None
    elif 'invalid choice' in message and "'" in message:
        near = nearest(message.split("'")[1], _choices(parser, message))
    else:
        return ''
    return f'; did you mean {near}?' if near else ''


def _commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    return [command for action in parser._actions
            if isinstance(action, argparse._SubParsersAction)
            for command in action.choices.values()]


def _choices(parser: argparse.ArgumentParser, message: str) -> Iterable[str]:
    """Return the choices of the argument that a message speaks of."""
    # argparse begins with "argument NAME: ".
    name = message.partition(': ')[0].removeprefix('argument ')
    for action in parser._actions:
        shown = '/'.join(action.option_strings) or action.metavar or action.dest
        if action.choices is not None and shown == name:
            return [str(choice) for choice in action.choices]
    return []
