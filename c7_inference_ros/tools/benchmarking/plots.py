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

"""Pictures of a benchmark: how latency is distributed, and how it went with heat."""

from __future__ import annotations

import io
from typing import Any

from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.tools.benchmarking.limits import P95
from c7_inference_ros.tools.benchmarking.run import Outcome

LATENCY, SOAK = 'latency.png', 'soak.png'
_COLORS = ('#1f618d', '#c0392b', '#1e8449', '#7d3c98', '#b9770e', '#117a65')
_LIMIT = '#222222'
_WIDTH, _PANEL_HEIGHT = 9.0, 3.4
_DPI = 110


def draw(outcome: Outcome) -> dict[str, bytes]:
    """
    Return PNG files by name.

    :raises RuntimeNotAvailableError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'plots need matplotlib ({error}); pip install matplotlib, or rosdep key '
            f'python3-matplotlib') from error
    models = list(outcome.subjects[0].models)
    figures = {LATENCY: (len(models), _latency)}
    if outcome.plan.duration_s > 0.0:
        figures[SOAK] = (len(models) + 1, _soak)
    found = {}
    for name, (panels, fill) in figures.items():
        figure = Figure(figsize=(_WIDTH, 0.8 + _PANEL_HEIGHT * panels), layout='constrained')
        FigureCanvasAgg(figure)
        axes = figure.subplots(panels, 1, squeeze=False)[:, 0]
        fill(outcome, models, axes)
        doubts = outcome.doubts()
        if doubts:
            figure.suptitle('doubtful: ' + '\n'.join(doubts[:3]), fontsize=8, color=_COLORS[1])
        data = io.BytesIO()
        figure.savefig(data, format='png', dpi=_DPI)
        found[name] = data.getvalue()
    return found


def _latency(outcome: Outcome, models: list[str], axes: Any) -> None:
    """Draw which share of the pictures was done after how long."""
    limits = {verdict.limit.model: verdict.limit.allowed for verdict in outcome.verdicts
              if verdict.limit.key == P95}
    for name, panel in zip(models, axes):
        farthest = 0.0
        for subject, color in zip(outcome.subjects, _COLORS * len(outcome.subjects)):
            model = subject.models[name]
            loop, raw = next(iter(model.raw.items()))
            for what, one, style in (('whole', model.stages['whole'], '-'), (loop, raw, ':')):
                panel.plot([value * 1e3 for value in one.quantiles], range(101), style,
                           color=color, label=f'{subject.label}, {what}')
                farthest = max(farthest, one.p99 * 1e3)
            whole = model.stages['whole']
            low, high = whole.p95_bounds
            panel.plot([1e3 * (whole.p95 if low is None else low),
                        1e3 * (whole.max if high is None else high)], [95, 95], color=color,
                       linewidth=4, alpha=0.35, solid_capstyle='butt')
            panel.plot([whole.p95 * 1e3], [95], 'o', color=color, markersize=5)
        limit = limits.get(name)
        if limit is not None and limit < farthest * 3:
            panel.axvline(limit, color=_LIMIT, linewidth=1.0)
            panel.text(limit, 50, ' limit of p95', fontsize=8, rotation=90, va='center')
            farthest = max(farthest, limit)
        panel.set(title=f'{name}: share of pictures done within a time; the dot is the p95, the '
                        f'bar its bounds', xlabel='ms', ylabel='%', xlim=(0.0, farthest * 1.15),
                  ylim=(0.0, 101.0))
        panel.title.set_fontsize(9)
        panel.grid(alpha=0.3)
        panel.legend(loc='center right' if limit is None else 'best', fontsize=8)


def _soak(outcome: Outcome, models: list[str], axes: Any) -> None:
    """Draw latency over time, and the heat below."""
    windows = outcome.soak.windows
    for name, panel in zip(models, axes):
        for subject, color in zip(outcome.subjects, _COLORS * len(outcome.subjects)):
            key = (subject.label, name)
            seen = [window for window in windows if key in window.whole_ms]
            at = [(window.from_s + window.to_s) / 2 for window in seen]
            for column, style, what in ((0, '-', 'p50'), (1, '--', 'p95')):
                panel.plot(at, [window.whole_ms[key][column] for window in seen], style,
                           color=color, marker='.', label=f'{subject.label}, {what}')
        panel.set(title=f'{name}: the whole pipeline over the run', ylabel='ms', xlabel='s',
                  ylim=(0.0, None), xlim=(0.0, outcome.soak.duration_s))
        panel.title.set_fontsize(9)
        panel.grid(alpha=0.3)
        panel.legend(loc='best', fontsize=8)
    _heat(outcome, axes[-1])


def _heat(outcome: Outcome, panel: Any) -> None:
    windows = outcome.soak.windows
    devices = dict.fromkeys(name for window in windows for name in window.temperature_c)
    panel.set(title='heat: warmest reading, and where a device was slowed down by it', xlabel='s',
              ylabel='C', xlim=(0.0, outcome.soak.duration_s))
    panel.title.set_fontsize(9)
    panel.grid(alpha=0.3)
    for window in windows:
        if window.throttled:
            panel.axvspan(window.from_s, window.to_s, color=_COLORS[1], alpha=0.15)
    if not devices:
        panel.text(0.5, 0.5, 'this machine shows no temperature', ha='center',
                   transform=panel.transAxes)
        return
    clocks = panel.twinx()
    clocks.set_ylabel('lowest clock, MHz (dotted)')
    for device, color in zip(devices, _COLORS * len(devices)):
        seen = [window for window in windows if device in window.temperature_c]
        panel.plot([(window.from_s + window.to_s) / 2 for window in seen],
                   [window.temperature_c[device] for window in seen], color=color, marker='.',
                   label=device)
        for clock in dict.fromkeys(name for window in windows
                                   for name in window.clocks_mhz.get(device, ())):
            timed = [window for window in windows if clock in window.clocks_mhz.get(device, ())]
            clocks.plot([(window.from_s + window.to_s) / 2 for window in timed],
                        [window.clocks_mhz[device][clock] for window in timed], ':', color=color,
                        alpha=0.7)
    panel.legend(loc='best', fontsize=8)
