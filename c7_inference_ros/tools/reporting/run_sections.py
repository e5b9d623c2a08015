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

"""The parts of a page that say what was run, what became of it, and how fast."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from datetime import timezone
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.tools.reporting.text import facts
from c7_inference_ros.tools.reporting.text import Html
from c7_inference_ros.tools.reporting.text import joined
from c7_inference_ros.tools.reporting.text import milliseconds
from c7_inference_ros.tools.reporting.text import section
from c7_inference_ros.tools.reporting.text import table
from c7_inference_ros.tools.reporting.text import tag

#: Classes that are shown at once.
_FIRST_CLASSES = 10
_REASONS = {
    'overwritten': 'a newer image came before this one was taken',
    'stale': 'older than max_image_age when it was taken',
    'bad_encoding': 'an encoding that nothing here reads',
    'bad_image': 'damaged in the bag',
    'inactive': 'the node was not active',
    'inference_error': 'the model failed on it',
    'publish_error': 'the result could not be written',
    'rate_limited': 'faster than max_rate of its camera',
    'thermal': 'load that was shed because of heat'}


def header(report: Mapping[str, Any]) -> Html:
    """Return what was run on what, and whether it was good."""
    bag = report['bag']
    seconds = (bag['end_ns'] - bag['start_ns']) / 1e9
    is_good = report['exit_code'] == 0
    accounts = [one for models in report['counts'].values() for one in models.values()]
    frames = sum(one['received'] for one in accounts)
    dropped = sum(sum(one['dropped'].values()) for one in accounts)
    mode = report['mode'] + (f', {report["rate"]:g} recorded seconds in a second'
                             if report.get('rate') else '')
    return joined((
        tag('h1', f'{report["program"]}: {bag["name"]}'),
        tag('p', 'Good: the run came to its end, and no model failed on a frame.' if is_good else
            f'Not good (exit code {report["exit_code"]}): see the problems and the drops below.',
            class_=f'verdict {"good" if is_good else "bad"}'),
        _problems(report),
        facts((
            ('Bag', tag('code', bag['path'])),
            ('Storage', bag['storage']),
            ('Recorded', f'{_time(bag["start_ns"])}, {seconds:.2f} s'),
            ('Mode', mode),
            ('Frames, each for each model', frames),
            ('Dropped', f'{dropped} ({100 * dropped / frames:.1f} %)' if dropped else 0),
            *((('Latest image', f'{milliseconds(report["late_max_ms"])} ms after its time'),)
              if report.get('late_max_ms') else ()))),
        table(('Camera', 'Topic', 'Type', 'Images'), (
            (one['camera'], tag('code', one['topic']), one['type'], one['images'])
            for one in report.get('streams', ())), 3),
        table(('Model', 'Decoder', 'Runs on', 'File', 'SHA-256'), (
            (name, one['decoder'], one['runtime'], tag('code', one['path']),
             tag('code', one['sha256'][:16] + '…' if one['sha256'] else 'a folder'))
            for name, one in report['models'].items()), 9),
        tag('details', tag('summary', f'{len(report["parameters"])} parameters in force'),
            table(('Parameter', 'Value'), ((tag('code', name), _value(value))
                                           for name, value in report['parameters'].items()), 9)),
        section('Machine and conditions', *_conditions(report['conditions']))))


def counts(report: Mapping[str, Any]) -> Html:
    """Return where every frame went, and that none is missing."""
    rows, reasons = [], Counter[str]()
    missing = 0
    for camera, models in report['counts'].items():
        for model, one in models.items():
            dropped = sum(one['dropped'].values())
            gap = one['received'] - one['published'] - dropped - one['in_flight']
            missing += abs(gap)
            reasons.update(one['dropped'])
            rows.append((camera, model, one['received'], one['published'], dropped,
                         one['in_flight'], tag('td', '0' if not gap else gap,
                                               class_='n' if not gap else 'n verdict bad')))
    used = [reason for reason, count in reasons.items() if count]
    parts = [tag('p', 'Received is published, dropped and in flight together; the balance is what '
                      'is left over.', class_='soft'),
             table(('Camera', 'Model', 'Received', 'Published', 'Dropped', 'In flight',
                    'Balance'), rows, 2)]
    if missing:
        parts.append(tag('p', 'Frames are missing in these accounts. That is a bug of this '
                              'program, and no figure of the page can be trusted.',
                         class_='verdict bad'))
    if used:
        parts += [tag('h3', 'Drops by reason'),
                  table(('Camera', 'Model', *used), (
                      (camera, model, *(one['dropped'].get(reason, 0) for reason in used))
                      for camera, models in report['counts'].items()
                      for model, one in models.items()), 2),
                  facts((reason, _REASONS.get(reason, 'no explanation is known'))
                        for reason in used)]
    else:
        parts.append(tag('p', 'No frame was dropped.'))
    return section('Frames', *parts)


def stages(report: Mapping[str, Any], plots: Any) -> Html:
    """Return percentiles, course and spread of the durations."""
    parts: list[Any] = []
    for model, found in report['stages_ms'].items():
        measured = {name: one for name, one in found.items() if one is not None}
        parts.append(tag('h3', model))
        if not measured:
            parts.append(tag('p', 'No frame was published, so there is no duration.'))
            continue
        parts.append(table(('Stage, ms', 'p50', 'p95', 'p99', 'max', 'Frames'), (
            (name, *(milliseconds(one[key]) for key in ('p50', 'p95', 'p99', 'max')),
             one['count']) for name, one in measured.items())))
        if plots is not None:
            parts.append(tag('div', Html(plots.stages(found)), class_='plot'))
            course = report.get('latency_ms', {}).get(model)
            if course:
                parts.append(tag('div', Html(plots.latency(course)), class_='plot'))
    return section('Durations', tag('p', (
        'Published frames only. wait: received to taken; processing: taken to published, of a '
        'second model with the first; age: stamp to published.'), class_='soft'), *parts)


def detections(report: Mapping[str, Any], timelines: Any, plots: Any) -> Html:
    """Return what was found: by class, by frame, and over time."""
    parts: list[Any] = []
    for model, found in report['detections'].items():
        by_frame = found['by_frame']
        parts.append(tag('h3', model))
        parts.append(tag('p', f'{found["total"]} detections in {by_frame["frames"]} frames' + (
            '' if by_frame['mean'] is None else
            f': {by_frame["mean"]:.2f} a frame, from {by_frame["min"]} to {by_frame["max"]}')))
        if found['by_class']:
            rows = [(name, count, f'{100 * count / found["total"]:.1f} %')
                    for name, count in found['by_class'].items()]
            head = ('Class', 'Detections', 'Share')
            parts.append(table(head, rows[:_FIRST_CLASSES]))
            if rows[_FIRST_CLASSES:]:
                parts.append(tag(
                    'details', tag('summary', f'{len(rows) - _FIRST_CLASSES} more classes'),
                    table(head, rows[_FIRST_CLASSES:])))
        for stream in timelines.bins:
            if stream[1] != model or not timelines.frames(stream):
                continue
            if plots is not None:
                parts += [tag('p', f'Camera {stream[0]}', class_='soft'),
                          tag('div', Html(plots.detections(timelines, stream)), class_='plot')]
    return section('Detections', *parts)


def _problems(report: Mapping[str, Any]) -> Html:
    lines = report['problems']
    if not lines:
        return tag('p', 'No problems.', class_='soft')
    return tag('section', tag('h2', f'Problems ({len(lines)})'),
               tag('ul', *(tag('li', line) for line in lines), class_='problems'))


def _conditions(conditions: Mapping[str, Any]) -> Iterator[Html]:
    throttled = conditions.get('throttled')
    yield tag('p', 'Whether heat slowed the machine is not known.' if throttled is None else
              'Heat slowed the machine meanwhile: its durations are not those of a cool one.'
              if throttled else 'Heat did not slow the machine.',
              class_='verdict bad' if throttled else '')
    rows: list[tuple[Any, ...]] = []
    for name, part in (('cpu', conditions.get('cpu', {})),
                       *conditions.get('devices', {}).items()):
        rows += [(name, key, value) for key, value in part.get('settings', {}).items()]
        rows += [(name, f'clock {key}', f'{value["min"]:g} to {value["max"]:g} MHz')
                 for key, value in part.get('clocks_mhz', {}).items()]
        hottest = part.get('hottest')
        if hottest:
            rows.append((name, f'hottest: {hottest["zone"]}', f'{hottest["celsius"]:.1f} °C'))
        rows += [(name, 'slowed', reason) for reason in part.get('throttle_reasons', ())]
        rows += [(name, 'warning', reason) for reason in part.get('warnings', ())]
        rows += [(name, f'over-current {key}', f'{count} times')
                 for key, count in part.get('over_current_events', {}).items() if count]
        unknown: dict[str, list[str]] = {}
        for key, why in part.get('unknown', {}).items():
            unknown.setdefault(why, []).append(key)
        rows += [(name, ', '.join(keys), f'unknown: {why}') for why, keys in unknown.items()]
    yield table(('Part', 'What', 'Value'), rows, 9)


def _value(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return ', '.join(str(one) for one in value) or '[]'
    return repr(value) if value == '' else str(value)


def _time(time_ns: int) -> str:
    try:
        return datetime.fromtimestamp(time_ns // 1_000_000_000, timezone.utc).strftime(
            '%Y-%m-%d %H:%M:%S UTC')
    except (OverflowError, ValueError, OSError):
        return f'{time_ns} ns'
