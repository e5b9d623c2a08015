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

"""What travelled with an engine completes the YAML, and a contradiction is refused."""

from c7_inference_ros.config import load_config
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.pipeline.engine_processing import metadata_with_labels
from c7_inference_ros.pipeline.engine_processing import processing_of
from c7_inference_ros.pipeline.engine_processing import with_processing
from c7_inference_ros.vision.labels import load_labels
import pytest

YOLOX = {'decoder': 'yolox', 'preprocess.anchor': 'top_left', 'preprocess.color_order': 'bgr',
         'preprocess.scale': 1.0}


def model(**values):
    return load_config({f'models.detector.{name}': value for name, value in values.items()}
                       ).models['detector']


def test_what_travels_comes_back_the_same():
    compiled = model(**YOLOX)
    loaded = with_processing(model(), processing_of(compiled))
    assert loaded == compiled
    assert loaded.preprocess.anchor == 'top_left' and loaded.preprocess.mean == (0.0, 0.0, 0.0)


def test_a_setting_of_the_yaml_that_agrees_is_fine():
    compiled = model(**YOLOX)
    assert with_processing(compiled, processing_of(compiled)) == compiled


def test_other_models_keep_what_the_yaml_says():
    config = model(**YOLOX)
    assert with_processing(config, {}) == config


def test_every_contradiction_is_one_line_with_both_values():
    processing = processing_of(model(**YOLOX))
    with pytest.raises(ConfigurationError) as caught:
        with_processing(model(**{'preprocess.scale': 0.5, 'decoder': 'yolov5'}), processing)
    scale, decoder = caught.value.problems
    assert scale == ('models.detector.preprocess.scale is 0.5, but the engine was compiled for '
                     '1.0; take it out of the YAML, or compile the engine with the other value')
    assert decoder.startswith("models.detector.decoder is 'yolov5', but the engine was compiled "
                              "for 'yolox'")


def test_a_default_of_the_engine_is_a_statement_where_it_means_something():
    """An engine compiled for 1/255 does not run with other pixels; an open layout may be set."""
    processing = processing_of(model())
    with pytest.raises(ConfigurationError, match='preprocess.scale is 1.0'):
        with_processing(model(**{'preprocess.scale': 1.0}), processing)
    settled = with_processing(model(**{'preprocess.layout': 'nchw', 'decoder': 'detr',
                                       'preprocess.width': 320}), processing)
    assert settled.preprocess.layout == 'nchw' and settled.preprocess.width == 320
    assert settled.decoder == 'detr'


def test_a_manifest_of_another_version_is_refused_by_name():
    with pytest.raises(ConfigurationError) as caught:
        with_processing(model(), {'preprocess': {'gamma': 2.2, 'scale': 'much'}, 'tracker': 'x'})
    text = '\n'.join(caught.value.problems)
    assert len(caught.value.problems) == 3 and 'compile it again' in text
    assert "'tracker'" in text and 'preprocess.gamma' in text and "'much'" in text


def test_labels_of_the_engine_are_those_of_the_model():
    metadata = metadata_with_labels({'names': 'a,b', 'author': 'x'},
                                    processing_of(model(), ('car', "driver's cab")))
    assert metadata['author'] == 'x'
    assert load_labels('', metadata, 2, 'labels').names == ('car', "driver's cab")
    assert metadata_with_labels({'names': 'a,b'}, {})['names'] == 'a,b'
