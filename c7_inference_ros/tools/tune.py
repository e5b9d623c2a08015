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
Find the thresholds with which a model does best on labelled pictures.

.. code-block:: text

    tune FOLDER --params-file p.yaml --ground-truth instances.json --output tuned.yaml
    tune BAG --params-file p.yaml --ground-truth /camera/labels --output tuned.yaml --scope class

The page for users is ``docs/tune.md``.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
import sys
from typing import Any
from typing import Sequence

from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.tools.command_line import run_command
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import NO
from c7_inference_ros.tools.evaluation.topic_truth import read_truth
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.tuning.curve_plot import draw
from c7_inference_ros.tools.tuning.inferred import InferredSamples
from c7_inference_ros.tools.tuning.inferred import model_of
from c7_inference_ros.tools.tuning.inferred import TunedModel
from c7_inference_ros.tools.tuning.outcome import lines
from c7_inference_ros.tools.tuning.request import parse
from c7_inference_ros.tools.tuning.request import PROGRAM
from c7_inference_ros.tools.tuning.request import TuneRequest
from c7_inference_ros.tools.tuning.results import put
from c7_inference_ros.tools.tuning.samples import BagSamples
from c7_inference_ros.tools.tuning.samples import FolderSamples
from c7_inference_ros.tools.tuning.samples import Samples
from c7_inference_ros.tools.tuning.search import Found
from c7_inference_ros.tools.tuning.search import search
from c7_inference_ros.tools.tuning.tensor_store import TensorStore
from c7_inference_ros.tools.tuning.yaml_edit import edited_parameters

_LEFT = 'no file was written or changed'


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command line.

    :param argv: arguments; those of the process when None.
    :returns: 0 written and better or as good, 1 no setting does what was asked, 2 bad input, 130
        and 143 after SIGINT and SIGTERM.
    """
    return run_command(PROGRAM, argv, _run, _LEFT)


def _run(argv: list[str], console: Console) -> int:
    request = parse(argv)
    config = load_parameter_file(request.parameters, request.node_name)
    name = model_of(config, request.model_name, str(request.parameters))
    with ExitStack() as stack:
        try:
            bag = _open_bag(request, stack)
            model = stack.enter_context(TunedModel(config, name))
            truth = read_truth(request.truth, request.source if bag else None,
                               model.labels.names)
            samples: Samples = FolderSamples(request.source, truth) if bag is None else (
                BagSamples(bag, _topics(request, config, name, bag, console), truth))
            inferred = InferredSamples(model, stack.enter_context(TensorStore()), truth,
                                       request.least_overlap)
            with console.progress('inferring') as shown:
                inferred.collect(samples, lambda done, of: shown.update('picture', done, of))
        except BagError as error:
            raise ConfigurationError(str(error)) from error
        for problem in inferred.problems:
            console.warn(problem)
        with console.progress('tuning') as shown:
            found = search(request, model, inferred, samples.is_sequence,
                           lambda done, of: shown.update('setting', done, of))
    return _write(request, found, inferred.problems, name, console)


def _open_bag(request: TuneRequest, stack: ExitStack) -> Any:
    """Return the bag, or None where the source is a folder of pictures."""
    source = request.source
    is_bag = source.is_file() or (source / 'metadata.yaml').exists() or any(
        source.glob('*.mcap')) or any(source.glob('*.db3*'))
    if not source.exists():
        raise ConfigurationError(f'{source} is not there, expected a folder of pictures or a bag; '
                                 f'correct the path')
    if not is_bag:
        return None
    from c7_inference_ros.tools.bags.reader import open_bag

    return stack.enter_context(open_bag(source))


def _topics(request: TuneRequest, config: Any, name: str, bag: Any, console: Console
            ) -> dict[str, str]:
    """Return the image topic of each camera that the model looks at."""
    from dataclasses import replace

    from c7_inference_ros.tools.replaying.streams import find_streams

    cameras = tuple(one for one in config.camera_names if name in config.models_of(one))
    if not cameras:
        raise ConfigurationError(f'model {name} looks at no camera of {request.parameters}')
    only = replace(config, camera_names=cameras,
                   cameras={one: config.cameras[one] for one in cameras})
    streams = find_streams(only, bag.topics, request.topics, where=str(bag.path))
    for stream in streams:
        if stream.note:
            console.warn(stream.note)
    return {stream.camera: stream.topic for stream in streams}


def _write(request: TuneRequest, found: Found, problems: Sequence[str], name: str,
           console: Console) -> int:
    for line in lines(found.outcomes, found.names, found.tuned, found.thresholds):
        console.result(line)
    for note in found.notes:
        console.result(note)
    values = {**found.as_dict(), 'model': name, 'problems': list(problems),
              'notes': list(found.notes)}
    if found.refusal:
        console.say(f'{found.refusal}; {_LEFT}')
        console.result_json({**values, 'refusal': found.refusal, 'exit_code': NO})
        return NO
    text = _text(request.parameters)
    edited = edited_parameters(request.parameters, text, request.node_name, name, found.changes)
    try:
        picture = draw(found.swept, found.present, found.choice, request.wish, found.tuned,
                       found.names, f'{name}: {found.outcomes[0].pictures} pictures of '
                                    f'{request.source.resolve().name}')
        put(request.plot, picture)
    except RuntimeNotAvailableError as error:
        console.warn(str(error))
        picture = b''
    put(request.output, edited.encode())
    changed = ', '.join(f'{key}: {value}' for key, value in found.changes.items())
    console.result(f'{changed or "the present thresholds are the best that were found"}')
    console.result(str(request.output))
    console.result_json({**values, 'changes': found.changes, 'output': str(request.output),
                         'plot': str(request.plot) if picture else None, 'exit_code': GOOD})
    return GOOD


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise ConfigurationError(f'{path} is no UTF-8 text (byte {error.start}); save it as UTF-8'
                                 ) from error


if __name__ == '__main__':
    sys.exit(main())
