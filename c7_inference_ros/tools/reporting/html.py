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
A report as one page that needs nothing else: no network, no script, no other file.

Made of ``report.json`` and ``detections.jsonl`` alone, and of pictures that the caller drew.
"""

from __future__ import annotations

from typing import Any
from typing import Iterable
from typing import Mapping
from typing import Sequence

from c7_inference_ros.tools.reporting.gallery import Gallery
from c7_inference_ros.tools.reporting.plots import Plots
from c7_inference_ros.tools.reporting.run_sections import counts
from c7_inference_ros.tools.reporting.run_sections import detections
from c7_inference_ros.tools.reporting.run_sections import header
from c7_inference_ros.tools.reporting.run_sections import stages
from c7_inference_ros.tools.reporting.style import CSS
from c7_inference_ros.tools.reporting.text import Html
from c7_inference_ros.tools.reporting.text import joined
from c7_inference_ros.tools.reporting.text import tag
from c7_inference_ros.tools.reporting.text import text
from c7_inference_ros.tools.reporting.thumbnails import Thumbnail
from c7_inference_ros.tools.reporting.timeline import Timelines
from c7_inference_ros.tools.reporting.truth_sections import evaluation
from c7_inference_ros.tools.reporting.truth_sections import frames
from c7_inference_ros.tools.reporting.truth_sections import galleries

#: A page may load nothing and run nothing, whatever gets into it.
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(report: Mapping[str, Any], lines: Iterable[Mapping[str, Any]],
         thumbnails: Sequence[Thumbnail] = (), more: Iterable[Gallery] = (),
         notes: Sequence[str] = ()) -> bytes:
    """
    Return the page, UTF-8.

    :param report: ``report.json``.
    :param lines: of ``detections.jsonl``.
    :param thumbnails: frames with what was found in them.
    :param more: parts to add, such as the comparison with a baseline.
    :param notes: what is not on the page and why, one sentence each.
    """
    timelines = Timelines(report)
    timelines.read(lines)
    plots: Plots | None
    try:
        plots = Plots()
    except ImportError as error:
        plots = None
        notes = [*notes, f'This page has no plots: matplotlib is not installed ({error}). Install '
                         f'it, for example with: apt install python3-matplotlib']
    body = joined((
        tag('main', header(report), _notes(notes), *galleries(more), counts(report),
            stages(report, plots), detections(report, timelines, plots),
            evaluation(report, plots), frames(thumbnails, report)),))
    title = text(f'{report["program"]}: {report["bag"]["name"]}')
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n{body}\n</body>\n'
        '</html>\n').encode()


def _notes(notes: Sequence[str]) -> Html:
    return tag('ul', *(tag('li', note) for note in notes), class_='problems') if notes else (
        Html(''))
