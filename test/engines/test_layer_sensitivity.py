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

"""Switching the layers of a quantised model one by one, and ranking them."""

from c7_inference_ros.engines.calibration.layer_sensitivity import SwitchableModel
from c7_inference_ros.engines.calibration.quantizable_model import read_quantizable
from c7_inference_ros.engines.calibration.quantization import measure_ranges
from c7_inference_ros.engines.calibration.quantization import quantize
import numpy as np
import pytest
import quantization_models as models


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Quantise a model with one layer whose range is far too small."""
    path = models.mixed_model(tmp_path_factory.mktemp('mixed') / 'mixed.onnx')
    model = read_quantizable(path)
    ranges = measure_ranges(model, models.images(), 20)
    ranges['r1'] /= 20
    return path, model, ranges


@pytest.fixture(scope='module')
def switchable(made):
    _, model, ranges = made
    return SwitchableModel(model, quantize(model, ranges, {'mm'}))


def test_layers_that_are_quantised_have_a_switch(switchable):
    assert set(switchable.layers) == {'conv1', 'conv2', 'fc'}


@pytest.mark.parametrize('excluded', [(), ('conv1',), ('conv2',), ('fc', 'conv1'),
                                      ('fc', 'conv1', 'conv2')])
def test_every_choice_is_the_model_with_these_layers_excluded(made, switchable, excluded):
    path, model, ranges = made
    switchable.exclude(excluded)
    is_all = len(excluded) == 3
    other = path if is_all else quantize(model, ranges, {'mm', *excluded})
    for feed in models.images(2, seed=4):
        for found, wanted in zip(switchable.run(None, feed), models.run(other, feed)):
            np.testing.assert_allclose(found, wanted, rtol=0.02, atol=0.02)


def test_the_layer_that_breaks_it_is_first(switchable):
    steps = []
    ranked = switchable.rank(models.images(2), lambda *step: steps.append(step))
    assert ranked[0] == 'conv2' and sorted(ranked) == ['conv1', 'conv2', 'fc']
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert switchable.rank(models.images(2)) == ranked


def test_outputs_can_be_chosen(switchable):
    switchable.exclude(())
    assert [one.shape for one in switchable.run(['self', 'y'], models.images(1)[0])] == [
        (8, 8), (1, 5)]
