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

"""One bag through the pipeline, and everything that is written about it."""

from __future__ import annotations

from contextlib import closing
from contextlib import contextmanager
from contextlib import ExitStack
from contextlib import suppress
from functools import partial
import json
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterable
from typing import Iterator
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.host import probe_host
from c7_inference_ros.errors import BagError
from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import ImageError
from c7_inference_ros.pipeline.model_lookup import find_model
from c7_inference_ros.tools.bags.reader import Bag
from c7_inference_ros.tools.bags.reader import open_bag
from c7_inference_ros.tools.benchmarking.other_load import LoadWatch
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import Progress
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.replaying.annotated import draw_all
from c7_inference_ros.tools.replaying.annotated import Pictures
from c7_inference_ros.tools.replaying.annotated import Videos
from c7_inference_ros.tools.replaying.baseline import Baseline
from c7_inference_ros.tools.replaying.changed_frames import changed_frames
from c7_inference_ros.tools.replaying.detections_bag import DetectionsBag
from c7_inference_ros.tools.replaying.judging import Judge
from c7_inference_ros.tools.replaying.outputs import ANNOTATED
from c7_inference_ros.tools.replaying.outputs import LINES
from c7_inference_ros.tools.replaying.outputs import LinesWriter
from c7_inference_ros.tools.replaying.outputs import OutputFolder
from c7_inference_ros.tools.replaying.outputs import PAGE
from c7_inference_ros.tools.replaying.outputs import REPORT
from c7_inference_ros.tools.replaying.pacing import EVERY_FRAME
from c7_inference_ros.tools.replaying.records import FrameResult
from c7_inference_ros.tools.replaying.replay_page import replay_page
from c7_inference_ros.tools.replaying.report import file_sha256
from c7_inference_ros.tools.replaying.report import FinishedRun
from c7_inference_ros.tools.replaying.report import report_dict
from c7_inference_ros.tools.replaying.report import table_lines
from c7_inference_ros.tools.replaying.report import Tally
from c7_inference_ros.tools.replaying.request import PICTURES
from c7_inference_ros.tools.replaying.request import PROGRAM
from c7_inference_ros.tools.replaying.request import ReplayRequest
from c7_inference_ros.tools.replaying.run import Replay
from c7_inference_ros.tools.replaying.streams import CameraStream
from c7_inference_ros.tools.replaying.streams import find_streams


def replay_bag(request: ReplayRequest, console: Console) -> int:
    """
    Replay one bag and write everything that was asked for.

    :returns: the exit code.
    :raises ConfigurationError: bag, parameters or output folder cannot be used.
    :raises C7Error: the run cannot be finished; the folder is marked as incomplete.
    """
    folder = OutputFolder(request.output)
    folder.check(request.is_overwriting)
    config = load_parameter_file(request.params_file, request.node_name)
    with ExitStack() as stack:
        with bad_input():
            bag = stack.enter_context(open_bag(request.bag))
        streams = find_streams(config, bag.topics, _chosen(config, request),
                               request.node.rpartition('/')[0] or '/', str(request.bag))
        for stream in streams:
            if stream.note:
                console.say(stream.note)
        baseline = _baseline(request, config, bag)
        pacing = request.pacing()
        with console.progress(f'replaying {request.bag.name}') as progress:
            replay = stack.enter_context(Replay(config, streams, pacing))
            for warning in replay.warnings():
                console.warn(warning)
            judge = Judge(request.ground_truth, request.bag, replay.labels)
            _warm_up(bag, streams)
            folder.begin()
            try:
                run = _run(request, config, bag, streams, replay, judge, baseline, folder,
                           progress)
                return finish(run, folder, console, (lambda report: replay_page(
                    report, folder.path / LINES, bag, streams, judge.evaluators, progress,
                    changed_frames(report, folder.path / LINES, bag, streams)))
                    if request.has_page else None)
            except BaseException as error:
                folder.leave(' '.join(f'{type(error).__name__}: {error}'.split()))
                raise


def finish(run: FinishedRun, folder: OutputFolder, console: Console,
           make_page: Callable[[Mapping[str, Any]], bytes] | None = None) -> int:
    """
    Write the report of a finished run, take the folder's mark away, and tell.

    :param make_page: makes ``report.html`` of the report; None for none.
    :returns: the exit code.
    """
    report = report_dict(run, run.verdict())
    comparison = run.compare(report) if run.compare else None
    if comparison is not None:
        comparison.put_into(report)
    exit_code: int = report['exit_code']
    folder.write(REPORT, (json.dumps(report, indent=2, allow_nan=False) + '\n').encode())
    if make_page is not None:
        folder.write(PAGE, make_page(report))
    folder.complete()
    for problem in run.problems:
        console.warn(problem)
    for line in table_lines(run):
        console.result(line)
    if comparison is not None:
        for line in comparison.lines():
            console.result(line)
    console.result(f'{folder.path / (REPORT if make_page is None else PAGE)}')
    console.result_json(report)
    return exit_code


def _run(request: ReplayRequest, config: NodeConfig, bag: Bag, streams: Sequence[CameraStream],
         replay: Replay, judge: Judge, baseline: Baseline | None, folder: OutputFolder,
         progress: Progress) -> FinishedRun:
    labels = replay.labels
    tally = Tally(labels)
    with closing(LinesWriter(folder, labels)) as lines:
        with DetectionsBag(folder, request.node, config, labels,
                           replay.describe()) as detections:
            def take(result: FrameResult) -> None:
                tally(result)
                judge(result)
                lines(result)
                detections(result)

            watch = LoadWatch()
            measured = replay.run(_images(bag, streams, progress, 'images'), take)
            other_load = watch.finish()
        lines.complete()
    evaluation, doubts = judge.finish()
    problems = [*bag.problems, *tally.problems(), *measured.bugs, *doubts]
    if request.annotated:
        _annotate(request, config, bag, streams, lines.path, replay, folder, progress)
    return FinishedRun(
        program=PROGRAM, bag=_bag_facts(request, bag), mode=request.mode,
        rate=0.0 if request.mode == EVERY_FRAME else request.rate, config=config,
        streams=streams, labels=labels, models=_model_facts(config, replay), measured=measured,
        detections=tally.detections(), problems=problems, other_load=other_load,
        evaluation=evaluation, compare=None if baseline is None else partial(
            baseline.compare, lines_path=lines.path, limits=request.limits))


def _annotate(request: ReplayRequest, config: NodeConfig, bag: Bag,
              streams: Sequence[CameraStream], lines_path: Path, replay: Replay,
              folder: OutputFolder, progress: Progress) -> None:
    where = folder.path / ANNOTATED
    seconds = (bag.end_ns - bag.start_ns) / 1e9
    with closing(Pictures(where) if request.annotated == PICTURES else Videos(
            where, {stream.camera: (stream.count - 1) / seconds if seconds > 0.0 else 0.0
                    for stream in streams})) as take:
        draw_all(_images(bag, streams, progress, 'drawing'), streams, lines_path, replay.labels,
                 config.models_of, take)


def _images(bag: Bag, streams: Sequence[CameraStream], progress: Progress,
            what: str) -> Iterator[Any]:
    topics = tuple(dict.fromkeys(stream.topic for stream in streams))
    total = sum(bag.count(topic) for topic in topics)
    with bad_input():
        images: Iterable[Any] = bag.images(topics)
        for done, image in enumerate(images):
            progress.update(what, done, max(total, done + 1))
            yield image


@contextmanager
def bad_input() -> Iterator[None]:
    """
    Take a bag that cannot be read for what it is.

    :raises ConfigurationError: in place of a BagError, with the same line.
    """
    try:
        yield
    except BagError as error:
        raise ConfigurationError(str(error)) from error


def _warm_up(bag: Bag, streams: Sequence[CameraStream]) -> None:
    """Read one image of each topic, so that what the first one costs is in no figure."""
    with bad_input():
        for stream in streams:
            images: Any = bag.images((stream.topic,))
            with closing(images), suppress(ImageError):
                next(images).read()


def _chosen(config: NodeConfig, request: ReplayRequest) -> dict[str, str]:
    topics = dict(request.topics)
    if '' in topics:
        if len(config.camera_names) > 1:
            raise ConfigurationError(
                f'--topic {topics[""]} does not say of which camera; {request.params_file} has '
                f'{", ".join(config.camera_names)}, give for example '
                f'{config.camera_names[0]}={topics[""]}')
        topics.setdefault(config.camera_names[0], topics.pop(''))
    return topics


def _baseline(request: ReplayRequest, config: NodeConfig, bag: Bag) -> Baseline | None:
    if request.baseline is None:
        return None
    baseline = Baseline(request.baseline)
    if baseline.path.resolve().parent == request.output.resolve():
        raise ConfigurationError(f'--baseline {baseline.path} lies in --output {request.output} '
                                 f'and would be replaced; choose another output')
    baseline.check(_bag_facts(request, bag), request.mode,
                   0.0 if request.mode == EVERY_FRAME else request.rate,
                   {camera: config.models_of(camera) for camera in config.camera_names})
    return baseline


def _bag_facts(request: ReplayRequest, bag: Bag) -> dict[str, Any]:
    return {'path': str(request.bag), 'name': request.bag.name, 'storage': bag.storage,
            'start_ns': bag.start_ns, 'end_ns': bag.end_ns,
            'topics': [{'name': topic.name, 'type': topic.msgtype, 'count': topic.count}
                       for topic in bag.topics]}


def _model_facts(config: NodeConfig, replay: Replay) -> dict[str, dict[str, Any]]:
    described = replay.describe()
    facts = {}
    for name, model in config.models.items():
        path = find_model(config, model, lambda config: probe_host(
            config.engines.package, device=config.engines.device))
        try:
            sha256 = file_sha256(path)
        except OSError as error:
            raise C7Error(f'{path} cannot be read any more ({error.strerror})') from error
        facts[name] = {'path': str(path), 'sha256': sha256, 'runtime': replay.runtime_label,
                       'decoder': described[name]['decoder']}
    return facts
