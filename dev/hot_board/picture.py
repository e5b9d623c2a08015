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

"""The picture of two runs, one above the other."""

from __future__ import annotations

from pathlib import Path

from c7_inference_ros.pipeline.shedding import ladder
from hot_board.board import BoardModel
from hot_board.simulation import configuration
from hot_board.simulation import Trace
from hot_board.summary import Bound
import numpy as np

OBSERVE, SHED, AIR, LIMIT = '#c0392b', '#1f618d', '#7f8c8d', '#222222'
_BIN_S = 5.0


def draw(path: Path, observe: Trace, shed: Trace, model: BoardModel, bound: Bound) -> None:
    """
    Write the picture.

    :param path: file to write; its suffix is the format.
    :raises OSError: it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    figure = Figure(figsize=(9.0, 9.0), layout='constrained')
    FigureCanvasAgg(figure)
    heat, level, rate, age = figure.subplots(
        4, 1, sharex=True, height_ratios=(3.0, 2.0, 2.0, 3.0))
    thermal = configuration('shed').thermal
    for trace, color in ((observe, OBSERVE), (shed, SHED)):
        at, air, die, state, step = np.array(trace.samples).T
        minutes = at / 60.0
        heat.plot(minutes, die, color=color, label=f'die, {trace.policy}')
        if trace is observe:
            heat.plot(minutes, air, color=AIR, label='air')
            level.step(minutes, state, color=color, where='post',
                       label=f'throttle state of {model.states}, observe')
        else:
            level.step(minutes, step, color=color, where='post', label='level, shed')
        edges = np.arange(0.0, at[-1] + _BIN_S, _BIN_S)
        for name, style in (('near', '-'), ('far', ':')):
            times = [when for when, model_name, _ in trace.ages if model_name == name]
            counts, _ = np.histogram(times, edges)
            rate.plot(edges[:-1] / 60.0, counts / _BIN_S, style, color=color,
                      label=f'{name}, {trace.policy}')
        when, ages = np.array([(when, found) for when, _, found in trace.ages]).T
        places = np.digitize(when, edges) - 1
        worst = np.full(edges.size, np.nan)
        np.fmax.at(worst, places, ages * 1e3)
        age.plot(edges / 60.0, worst, color=color, label=f'worst, {trace.policy}')
    heat.axhline(model.trip_c, color=LIMIT, linewidth=1.0)
    heat.text(0.0, model.trip_c + 1.0, 'passive trip', fontsize=8)
    heat.axhspan(model.trip_c - thermal.recover_margin, model.trip_c - thermal.shed_margin,
                 color=SHED, alpha=0.15, label='between the margins')
    heat.set(ylabel='temperature, C', title='One board, one weather: observe against shed')
    for step in ladder(configuration('shed'))[1:]:
        level.text(0.0, step.level, step.description, fontsize=7, va='center', color=SHED)
    level.set(ylabel='level, state', ylim=(-0.5, model.states + 0.5))
    rate.set(ylabel='published, Hz', ylim=(0.0, None))
    age.axhline(bound.age_s * 1e3, color=LIMIT, linewidth=1.0)
    age.text(0.0, bound.age_s * 1e3 * 1.08, f'bound with shed, {bound.age_s * 1e3:.0f} ms',
             fontsize=8)
    age.set(ylabel='age at publish, ms', xlabel='minutes', yscale='log',
            ylim=(9.0, 700.0))
    ticks = (10, 20, 50, 100, 200, 500)
    age.set_yticks(ticks, [str(tick) for tick in ticks])
    age.minorticks_off()
    for axes, place in ((heat, 'lower center'), (level, 'upper right'), (rate, 'lower right'),
                        (age, 'upper right')):
        axes.grid(alpha=0.3)
        axes.legend(loc=place, fontsize=8)
    figure.savefig(path, dpi=90)
