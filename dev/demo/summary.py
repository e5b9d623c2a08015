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

"""The result of a run: one JSON object, and the table that is printed of it."""

from __future__ import annotations

from collections import Counter
import json
import os
from pathlib import Path
import platform
import textwrap
from typing import Any
from typing import Iterable
from typing import Mapping

from c7_inference_ros.thermal.measurement_conditions import MeasurementConditions
from demo.accounting import Account
from demo.errors import DemoError
from demo.recording import Status
import numpy as np

PERCENTILES = {'p50': 50, 'p95': 95, 'p99': 99}
#: Below, the transport lost images that a vehicle would have wanted.
WANTED_SHARE = 0.99
TABLE_WIDTH = 98


def percentiles_ms(latencies: Mapping[int, float]) -> dict[str, float | None]:
    """Return p50, p95 and p99, None where there is nothing to measure."""
    values = list(latencies.values())
    return {name: round(float(np.percentile(values, rank)), 3) if values else None
            for name, rank in PERCENTILES.items()}


def count_detections(arrays: Mapping[int, Any], names: Mapping[int, str]) -> dict[str, int]:
    """Return the number of detections by class name, most frequent first."""
    counts: Counter[str] = Counter()
    for array in arrays.values():
        for detection in array.detections:
            class_id = detection.results[0].hypothesis.class_id
            number = int(class_id) if class_id.isdecimal() else None
            counts[names.get(number, class_id)] += 1
    return dict(counts.most_common())


def node_stages(values: Mapping[str, str]) -> dict[str, dict[str, float | None]]:
    """Return the node's own percentiles by stage, in milliseconds."""
    stages: dict[str, dict[str, float | None]] = {}
    for key, value in values.items():
        for name in PERCENTILES:
            if key.endswith(f'_{name}_ms'):
                stages.setdefault(key[:-len(f'_{name}_ms')], {})[name] = _number(value)
    return stages


def memory_of(values: Mapping[str, str]) -> dict[str, Any]:
    """Return predicted and measured bytes, by place and as the node says them."""
    memory: dict[str, Any] = {}
    for place in ('device', 'host'):
        memory[place] = {kind: _integer(values.get(f'{place}_{kind}_bytes', ''))
                         for kind in ('predicted', 'measured', 'budget')}
    memory['process_rss_bytes'] = _integer(values.get('process_rss_bytes', ''))
    memory['free_bytes'] = _integer(values.get('free_bytes', ''))
    return memory


def temperature_of(statuses: Mapping[str, Status],
                   peak: tuple[float, str] | None) -> dict[str, Any]:
    """
    Return the hottest zone of the run as the node says it, or why there is none.

    :param statuses: the last of each device.
    :param peak: degrees Celsius, and device and zone, of the warmest moment.
    """
    values = [status.values for status in statuses.values()]
    if peak:
        return {'available': True, 'hottest_zone': peak[1], 'hottest_c': peak[0],
                'throttling': any(found.get('throttling') == 'true' for found in values),
                'source': '+'.join(dict.fromkeys(found.get('source', '') for found in values))}
    reasons = [status.values.get('faults') or status.message for status in statuses.values()]
    return {'available': False, 'hottest_zone': None, 'hottest_c': None,
            'reason': '; '.join(filter(None, reasons)) or 'the node published no temperature'}


def rate_hz(arrivals: Iterable[int]) -> float | None:
    """Return how many results arrived per second, None for less than two."""
    ordered = sorted(arrivals)
    if len(ordered) < 2 or ordered[-1] == ordered[0]:
        return None
    return round((len(ordered) - 1) * 1e9 / (ordered[-1] - ordered[0]), 2)


def machine() -> dict[str, Any]:
    """Say what the numbers were measured on."""
    cpu = platform.processor() or platform.machine()
    try:
        for line in Path('/proc/cpuinfo').read_text().splitlines():
            if line.startswith(('model name', 'Model')):
                cpu = line.partition(':')[2].strip()
                break
    except OSError:
        pass
    return {'cpu': cpu, 'cores': len(os.sched_getaffinity(0)), 'system': platform.platform(),
            'python': platform.python_version(), 'load_1min': round(os.getloadavg()[0], 2)}


def conditions_of(conditions: MeasurementConditions) -> dict[str, Any]:
    """Return the conditions as the summary has them: for programs, and in words."""
    return {**conditions.as_dict(), 'text': list(conditions.lines())}


def frames_of(account: Account) -> dict[str, Any]:
    """Return the account as the summary has it."""
    return {'sent': account.sent, 'received': account.received, 'published': account.published,
            'dropped': dict(account.dropped)}


def write_summary(summary: Mapping[str, Any], path: Path) -> None:
    """
    Write the summary; it appears whole or not at all.

    :raises DemoError: it has latencies without the conditions in which they were measured.
    """
    _conditions_of(summary)
    part = path.with_name(f'.{path.name}.part')
    part.write_text(json.dumps(summary, indent=2) + '\n')
    os.replace(part, path)


def format_table(summary: Mapping[str, Any]) -> str:
    """Return the table of a run for a terminal."""
    frames = summary['frames']
    dropped = sum(frames['dropped'].values())
    rows: list[tuple[str, str]] = [
        ('frames sent by the bag', f'{frames["sent"]:6d}'),
        ('  lost on the way', _share(summary['lost_in_transport'], frames['sent'])),
        ('  received by the node', _share(frames['received'], frames['sent'])),
        ('frames published', _share(frames['published'], frames['received'])),
        ('frames dropped', _share(dropped, frames['received']))]
    rows += [(f'  {reason}', f'{count:6d}')
             for reason, count in frames['dropped'].items() if count]
    rows += [('latency p50 / p95 / p99', _latency(summary['latency_ms'])),
             ('rate', _rate(summary['rate_hz'])),
             ('detections', _classes(summary['detections']))]
    rows += [(f'{place} memory', _memory(summary['memory'][place]))
             for place in ('device', 'host') if summary['memory'][place]['measured']
             or summary['memory'][place]['predicted']]
    rows.append(('hottest zone', _temperature(summary['temperature'])))
    width = max(len(name) for name, _ in rows)
    lines = [f'  {name:<{width}}  {value}' for name, value in rows]
    lines.append('  measured with')
    for line in _conditions_of(summary)['text']:
        lines += textwrap.wrap(line, TABLE_WIDTH, initial_indent='    ',
                               subsequent_indent='      ')
    return '\n'.join(lines)


def advice(account: Account, profile: str) -> list[str]:
    """Return what to do where images were lost on the way, one line each."""
    if account.received_share >= WANTED_SHARE:
        return []
    return [f'only {account.received_share:.1%} of the images reached the node; on a quiet '
            f'machine it is at least {WANTED_SHARE:.0%}:',
            '  is something else using the processor? (uptime, top)',
            f'  is the shared-memory profile in use? here: {profile}',
            '  is /dev/shm full? (df /dev/shm)']


def _conditions_of(summary: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions = summary.get('conditions')
    if not conditions or not conditions.get('text'):
        raise DemoError('a summary without the conditions of its latencies: nobody could compare'
                        ' them; record them with thermal/conditions.py')
    return conditions


def _share(count: int, whole: int) -> str:
    return f'{count:6d}   {100 * count / whole:5.1f} %' if whole else f'{count:6d}'


def _latency(latency: Mapping[str, float | None]) -> str:
    if latency['p50'] is None:
        return 'nothing arrived'
    return (' / '.join(f'{latency[name]:.1f}' for name in PERCENTILES)
            + ' ms, image out to detections in')


def _rate(rate: float | None) -> str:
    return 'nothing arrived' if rate is None else f'{rate:.1f} arrays/s'


def _classes(detections: Mapping[str, int]) -> str:
    shown = [f'{name} {count}' for name, count in detections.items()]
    more = f' and {len(shown) - 8} more classes' if len(shown) > 8 else ''
    return ', '.join(shown[:8]) + more if shown else 'none'


def _memory(memory: Mapping[str, int | None]) -> str:
    budget = f' of {_mib(memory["budget"])} allowed' if memory['budget'] else ''
    return f'predicted {_mib(memory["predicted"])}, measured {_mib(memory["measured"])}{budget}'


def _mib(value: int | None) -> str:
    return 'unknown' if value is None else f'{value / (1 << 20):.0f} MiB'


def _temperature(temperature: Mapping[str, Any]) -> str:
    if not temperature['available']:
        # The summary has the whole reason.
        return f'not known: {temperature["reason"].partition(";")[0]}'
    throttling = ', throttling' if temperature['throttling'] else ''
    return f'{temperature["hottest_zone"]} {temperature["hottest_c"]:.1f} °C{throttling}'


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _integer(text: str) -> int | None:
    number = _number(text)
    return None if number is None else int(number)
