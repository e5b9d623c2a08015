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

"""Editing single values of a parameter file: everything else stays, byte for byte."""

from pathlib import Path

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.tools.tuning.yaml_edit import edited_parameters
import pytest

CONFIG = Path(__file__).resolve().parents[2] / 'config'


def edit(text, model='m', node='', **changes):
    return edited_parameters(Path('p.yaml'), text, node, model, changes)


HEAD = """# At the top.
/**:   # every node
  ros__parameters:
    model_names: [m, 'n']

    models:
"""


def test_values_are_replaced_and_nothing_else():
    text = HEAD + """      m:
        path: a.onnx  # the model
        score_threshold:   0.4   # found by hand
        # Overlap.
        nms_threshold: !!float "0.45"
        class_score_thresholds: ["person=0.5", 'a b=0.25', car=0.1]   # each by itself
      n: {score_threshold: 0.4, path: b.onnx}
# At the end.
"""
    found = edit(text, score_threshold=0.37, nms_threshold=0.5,
                 class_score_thresholds=['car=0.33', 'person=0.6', "it's=0.2"])
    assert found == text.replace('   0.4   #', '   0.37   #').replace('!!float "0.45"', '0.5') \
        .replace("""["person=0.5", 'a b=0.25', car=0.1]""",
                 """[person=0.6, 'a b=0.25', car=0.33, 'it''s=0.2']""")


def test_values_that_are_not_there_are_added_beside_the_path():
    text = HEAD + """      m:
        path: a.onnx  # the model
        # What it wants.
        preprocess: {resize: stretch}
      n: {path: b.onnx}"""
    found = edit(text, score_threshold=0.5, class_score_thresholds=['car=0.33', 'a: b=0.2'])
    assert found == text.replace('# the model\n', """# the model
        class_score_thresholds:
          - car=0.33
          - 'a: b=0.2'
        score_threshold: 0.5
""")
    found = edit(text, 'n', nms_threshold=0.5, class_score_thresholds=['car=0.33'])
    assert found == text.replace('{path: b.onnx}', '{path: b.onnx, class_score_thresholds: '
                                 '[car=0.33], nms_threshold: 0.5}')


@pytest.mark.parametrize('before, after', [
    ("['']", '[car=0.5, bus=0.6]'), ('[]', '[car=0.5, bus=0.6]'),
    ("['', dog=0.1]", '[car=0.5, dog=0.1, bus=0.6]'),
    ('\n          - \'\'  # none\n          # of a dog\n          - "dog=0.1"  # so\n',
     '\n          - car=0.5  # none\n          # of a dog\n          - "dog=0.1"  # so\n'
     '          - bus=0.6\n'),
    ('\n        - bus=0.1 # old', '\n        - bus=0.6 # old\n        - car=0.5')])
def test_lists_in_every_form(before, after):
    text = f'{HEAD}      m:\n        class_score_thresholds: {before}\n        path: a\n'
    found = edit(text, class_score_thresholds=['car=0.5', 'bus=0.6'])
    assert found == text.replace(before, after)


def test_lines_end_as_they_did():
    text = (HEAD + '      m:\n        path: a.onnx\n').replace('\n', '\r\n')
    assert edit('\ufeff' + text, score_threshold=0.5) == (
        '\ufeff' + text + '        score_threshold: 0.5\r\n')


def test_the_place_that_counts_is_edited():
    text = """/**:
  ros__parameters: {models.m.path: a, models.m.score_threshold: 0.1}
ns:
  left: {ros__parameters: {models.m.score_threshold: 0.2}}
  right:
    ros__parameters:
      models.m:
        score_threshold: 0.3
"""
    assert edit(text, node='right', score_threshold=0.9) == text.replace('0.3', '0.9')
    assert edit(text, node='ns/left', score_threshold=0.9) == text.replace('0.2', '0.9')
    assert edit(text, node='left', nms_threshold=0.9) == text.replace(
        'path: a,', 'path: a, models.m.nms_threshold: 0.9,')
    with pytest.raises(ConfigurationError, match='--node-name'):
        edit(text, score_threshold=0.9)


@pytest.mark.parametrize('models', [
    # Another model would change with it.
    'm: &all {path: a, score_threshold: 0.4}\n      n: *all',
    'm: {path: a, score_threshold: &t 0.4}\n      n: {path: b, score_threshold: *t}',
    # It stands somewhere else.
    'n: &all {path: a}\n      m: {<<: *all}'])
def test_files_that_would_change_elsewhere_are_left_alone(models):
    with pytest.raises(ConfigurationError, match=r'p.yaml cannot be edited by itself.*write '
                                                 r'these yourself: models.m.score_threshold: 0.9'):
        edit(f'{HEAD}      {models}\n', score_threshold=0.9)


@pytest.mark.parametrize('name', ['inference.yaml', 'tensorrt.yaml', 'demo.yaml'])
def test_the_shipped_files(tmp_path, name):
    text = (CONFIG / name).read_text(encoding='utf-8')
    found = edit(text, 'person', score_threshold=0.33, nms_threshold=0.55,
                 class_score_thresholds=['person=0.35'])
    new = tmp_path / name
    new.write_text(found, encoding='utf-8')
    model = load_parameter_file(new).models['person']
    assert (model.score_threshold, model.nms_threshold) == (0.33, 0.55)
    assert model.class_score_thresholds == ('person=0.35',)
    kept = [line for line in found.splitlines() if 'threshold' not in line and '=0.35' not in line]
    assert kept == [line for line in text.splitlines() if 'threshold' not in line]
