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
Plots as SVG that stand in the text of a page.

Lines and letters of the plots take the colours of the page, dark or light, and text stays text.
"""

from __future__ import annotations

import io
from itertools import accumulate
import math
import re
from typing import Any
from typing import Mapping
import warnings

from c7_inference_ros.tools.reporting.text import clean
from c7_inference_ros.tools.reporting.timeline import Timelines

#: Series, in colours that the colour-blind tell apart and that show on black and on white.
COLORS = ('#0086c9', '#d55e00', '#009e73', '#cc79a7', '#b58900', '#7a6ff0', '#8c6d4f', '#808080')
_BAD = '#d55e00'
#: Stand for the colours of the page in what matplotlib writes.
_INK, _FAINT = '#010203', '#040506'
_NAMES = {_INK: 'currentColor', _FAINT: 'var(--line)'}
_WIDTH_IN = 8.2
_MAX_CURVES = 8
_STYLE: dict[Any, Any] = {
    'svg.fonttype': 'none', 'font.size': 10.5, 'font.family': 'sans-serif',
    'text.parse_math': False, 'text.usetex': False, 'path.simplify': True,
    'text.color': _INK, 'axes.labelcolor': _INK, 'xtick.labelcolor': _INK,
    'ytick.labelcolor': _INK, 'axes.edgecolor': _FAINT, 'xtick.color': _FAINT,
    'ytick.color': _FAINT, 'grid.color': _FAINT, 'axes.grid': True, 'axes.axisbelow': True,
    'axes.spines.top': False, 'axes.spines.right': False, 'legend.frameon': False,
    'axes.titlesize': 10.5, 'axes.titlelocation': 'left', 'figure.dpi': 72}


class Plots:
    """
    Draws the plots of one page.

    :raises ImportError: matplotlib is not installed.
    """

    def __init__(self) -> None:
        """Load matplotlib; not its windows, nor what a user has set for those."""
        import matplotlib
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure

        self._matplotlib = matplotlib
        self._canvas, self._figure = FigureCanvasSVG, Figure
        self._number = 0

    def stages(self, stages: Mapping[str, Mapping[str, float] | None]) -> str:
        """Return the percentiles of every stage as bars, of ``stages_ms`` of one model."""
        names = [name for name, found in stages.items() if found is not None]

        def draw(figure: Any) -> None:
            axes = figure.subplots()
            for number, (kind, color) in enumerate(zip(('p50', 'p95', 'p99', 'max'), COLORS)):
                places = [row + (number - 1.5) * 0.2 for row in range(len(names))]
                axes.barh(places, [_found(stages, name)[kind] for name in names], 0.18,
                          color=color, label=kind)
            axes.set_yticks(range(len(names)), names)
            axes.invert_yaxis()
            axes.grid(axis='y', visible=False)
            axes.set_xlabel('milliseconds')
            axes.legend(ncols=4, loc='lower left', bbox_to_anchor=(0.0, 1.0))
        return self._svg(draw, 0.9 + 0.42 * len(names), 'percentiles of every stage')

    def latency(self, stages: Mapping[str, Mapping[str, Any]]) -> str:
        """Return the course and the spread of durations, of ``latency_ms`` of one model."""
        def draw(figure: Any) -> None:
            left, right = figure.subplots(1, 2, width_ratios=(3, 2))
            for (stage, found), color in zip(stages.items(), COLORS):
                course, spread = found['over_time'], found['spread']
                frames = course['frame']
                marker = 'o' if len(frames) < 3 else None
                left.plot(frames, course['p50'], color=color, label=stage, linewidth=1.4,
                          marker=marker)
                left.fill_between(frames, course['p50'], course['max'], color=color, alpha=0.2,
                                  linewidth=0)
                counts = spread['frames']
                step = (spread['to'] - spread['from']) / len(counts)
                right.plot([spread['from'] + number * step for number in range(len(counts) + 1)],
                           [0.0, *(100.0 * done / sum(counts) for done in accumulate(counts))],
                           color=color, linewidth=1.4, label=stage)
            left.set(xlabel='published frame', ylabel='milliseconds',
                     title='median, and up to the longest')
            right.set(xlabel='milliseconds', ylabel='% of the frames', ylim=(0, 101),
                      title='share that was done by then')
            left.set_ylim(bottom=min(0.0, left.get_ylim()[0]))
            for axes in (left, right):
                axes.locator_params(nbins=6)
            figure.legend(*left.get_legend_handles_labels(), ncols=len(stages),
                          loc='outside upper left')
        return self._svg(draw, 3.3, 'latency over time and its distribution')

    def detections(self, timelines: Timelines, stream: tuple[str, str]) -> str:
        """Return the detections of one stream over time, by class, and where frames dropped."""
        bins = timelines.bins[stream]
        seconds = [(one.log_ns - timelines.start_ns) / 1e9 for one in bins]
        rows = timelines.classes(stream)

        def draw(figure: Any) -> None:
            axes = figure.subplots()
            # A frame between two that were dropped has no line to lie on.
            is_broken = len(bins) < 3 or any(None in values for values in rows.values())
            for (name, values), color in zip(rows.items(), COLORS):
                axes.plot(seconds, [math.nan if value is None else value for value in values],
                          color=color, linewidth=1.5, marker='o' if is_broken else None,
                          markersize=3.5, label=_legend(name))
            dropped = [(at, one.dropped / one.frames) for at, one in zip(seconds, bins)
                       if one.dropped]
            top = max((value for values in rows.values() for value in values
                       if value is not None), default=1.0) or 1.0
            if dropped:
                axes.scatter([at for at, _ in dropped], [-0.06 * top] * len(dropped),
                             s=[8 + 40 * share for _, share in dropped], marker='|', color=_BAD,
                             label='frames dropped')
            axes.set(xlabel='seconds since the first image', ylabel='detections a frame')
            axes.set_ylim(-0.1 * top if dropped else -0.03 * top, 1.1 * top)
            if rows or dropped:
                axes.legend(ncols=4, loc='lower left', bbox_to_anchor=(0.0, 1.0),
                            fontsize='small')
        return self._svg(draw, 3.0, 'detections a frame over time')

    def precision_recall(self, evaluation: Mapping[str, Any]) -> str:
        """Return the curves of the classes with the most objects."""
        classes = evaluation['per_class']
        names = sorted(evaluation['pr_curves'], key=lambda name: -(
            classes.get(name, {}).get('tp', 0) + classes.get(name, {}).get('fn', 0)))

        def draw(figure: Any) -> None:
            axes = figure.subplots()
            for name, color in zip(names[:_MAX_CURVES], COLORS):
                curve = evaluation['pr_curves'][name]
                axes.plot(curve['recall'], curve['precision'], color=color, linewidth=1.5,
                          marker='o', markevery=[-1], alpha=0.85, label=_legend(name))
            axes.set(xlabel='recall', ylabel='precision', xlim=(0, 1), ylim=(0, 1.03))
            figure.legend(*axes.get_legend_handles_labels(), loc='outside right upper')
        return self._svg(draw, 3.8, 'precision over recall by class')

    def _svg(self, draw: Any, height_in: float, what: str) -> str:
        self._number += 1
        prefix = f'plot{self._number}'
        with self._matplotlib.rc_context():
            self._matplotlib.rcdefaults()
            self._matplotlib.rcParams.update({**_STYLE, 'svg.hashsalt': prefix})
            with warnings.catch_warnings():
                # A letter that no font here has: whoever reads the page may have one.
                warnings.simplefilter('ignore')
                figure = self._figure(figsize=(_WIDTH_IN, height_in), layout='constrained')
                self._canvas(figure)
                figure.patch.set_visible(False)
                draw(figure)
                for axes in figure.axes:
                    axes.patch.set_visible(False)
                stream = io.StringIO()
                figure.savefig(stream, format='svg', metadata={
                    'Date': None, 'Creator': None, 'Type': None, 'Format': None})
        return _inline(stream.getvalue(), prefix, what)


def _found(stages: Mapping[str, Mapping[str, float] | None], name: str) -> Mapping[str, float]:
    found = stages[name]
    assert found is not None
    return found


def _legend(name: str) -> str:
    """Return a name as a legend shows it: what begins with an underscore would be left out."""
    name = clean(name)
    name = name if len(name) <= 28 else f'{name[:27]}…'
    return f'\u200b{name}' if name.startswith('_') or not name.strip() else name


def _inline(svg: str, prefix: str, what: str) -> str:
    """Return a drawing as a part of a page: no head, its own ids, the colours of the page."""
    svg = svg[svg.index('<svg'):]
    svg = re.sub(r'<metadata>.*?</metadata>', '', svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(:xlink)?="[^"]*"', '', svg)
    svg = re.sub(r'(<svg\b[^>]*?)\swidth="[^"]*"', r'\1', svg, count=1)
    svg = re.sub(r'(<svg\b[^>]*?)\sheight="[^"]*"', r'\1', svg, count=1)
    svg = svg.replace('<svg', f'<svg role="img" aria-label="{what}"', 1)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', svg))
    svg = re.sub(r'\sid="([^"]*)"', lambda found: (
        f' id="{prefix}-{found[1]}"' if found[1] in used else ''), svg)
    svg = re.sub(r'(url\(#|href="#)', rf'\g<1>{prefix}-', svg)
    for color, name in _NAMES.items():
        svg = svg.replace(color, name)
    return svg.strip()
