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

"""Every tool that reports how long something takes says in which conditions it was measured."""

import ast
from pathlib import Path
import re

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted([*(ROOT / 'dev').rglob('*.py'), *(ROOT / 'c7_inference_ros/tools').rglob('*.py')])
#: What a time that is reported looks like in a text: its unit, its name or its statistics.
_TIME = re.compile(r'\bms\b|_ms\b|latenc|milliseconds?\b|\bp(50|95|99)\b')
#: What makes the report of each file carry the conditions: a file, and words that it must have.
_DEMO = ('dev/demo/summary.py', '_conditions_of(summary)')
_PAGE = ('dev/gpu_measure/page.py', 'figures without their conditions')
CARRIERS = {
    'dev/demo/summary.py': _DEMO,
    'dev/demo/run.py': ('dev/demo/run.py', 'with record_conditions() as conditions:'),
    'dev/demo/pictures.py': ('dev/demo/pictures.py', 'for line in conditions'),
    'dev/demo/output.py': _DEMO,  # names the files
    'dev/gpu_measure/fallback_figures.py': _PAGE,
    'dev/gpu_measure/tensorrt_figures.py': _PAGE,
    'dev/gpu_measure/page.py': _PAGE,
    'dev/gpu_results.py': ('dev/gpu_results.py', 'with record_conditions() as conditions:'),
    'c7_inference_ros/tools/reporting': (
        'c7_inference_ros/tools/reporting/run_sections.py', "_conditions(report['conditions'])"),
    'c7_inference_ros/tools/replaying': (
        'c7_inference_ros/tools/replaying/report.py', "'conditions': run.measured.conditions"),
    'c7_inference_ros/tools/benchmarking': (
        'c7_inference_ros/tools/benchmarking/report.py',
        "'conditions': outcome.conditions.as_dict()"),
    'c7_inference_ros/tools/benchmark': (
        'c7_inference_ros/tools/benchmarking/run.py',
        'with record_conditions(root, on_state=log.add) as recorder:'),
    # Times between stamps that were recorded, none that was measured here.
    'c7_inference_ros/tools/bags': None,
    # The clocks of a simulated board are part of its simulation, which the summary states.
    'dev/hot_board': None,
}


def texts_of(path):
    """Yield the texts of a file that are no docstrings."""
    tree = ast.parse(path.read_text(encoding='utf-8'))
    docstrings = {id(node.body[0].value) for node in ast.walk(tree)
                  if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
                  and node.body and isinstance(node.body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and (
                id(node) not in docstrings):
            yield node.value


def short(path):
    return path.relative_to(ROOT).as_posix()


def reports_time(path):
    """Return whether any text of a file looks like a time that is reported."""
    return any(_TIME.search(text) for text in texts_of(path))


@pytest.mark.parametrize('path', SOURCES, ids=short)
def test_a_file_that_reports_a_time_is_known_to_carry_the_conditions(path):
    name = short(path)
    if not reports_time(path) or any(name == known or name.startswith(f'{known}/')
                                     or name == f'{known}.py' for known in CARRIERS):
        return
    pytest.fail(f'{name} reports how long something takes; store the power mode and the clocks'
                ' beside it (thermal/conditions.py) and name the file in CARRIERS')


@pytest.mark.parametrize('name', [name for name, carrier in CARRIERS.items() if carrier])
def test_what_carries_the_conditions_is_still_there(name):
    carrier, words = CARRIERS[name]
    assert words in (ROOT / carrier).read_text(encoding='utf-8')


def test_times_are_recognised(tmp_path):
    path = tmp_path / 'tool.py'
    for text, found in (("f'{value:.1f} ms'", True), ("'latency'", True), ("'total_ms'", True),
                        ("'p99'", True), ("'items'", False), ("'terms'", False)):
        path.write_text(f'"""Module: latency in ms."""\nx = 1\nprint({text})\n')
        assert reports_time(path) is found
