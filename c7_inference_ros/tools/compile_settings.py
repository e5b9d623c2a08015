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
Every setting of ``compile_engine compile``, once: for the command line, CONFIG.json and the page.

A setting has the same name in both places; what the command line says goes over the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from typing import Iterable
from typing import Mapping

from c7_inference_ros.config import DECODERS
from c7_inference_ros.engines.trust.manifest import HARDWARE_COMPATIBILITY
from c7_inference_ros.engines.types import PACKAGES
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.parameter_spec import build
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.parameter_spec import specs_of
from c7_inference_ros.tools import setting_values as read
from c7_inference_ros.tools.int8_request import METHODS
from c7_inference_ros.tools.setting_values import Setting

PRECISIONS = tuple(mode.value for mode in PrecisionMode)
_MAX_CONFIG_BYTES = 1 << 20
_PROCESSING, _INT8 = 'what the model wants and answers', 'INT8'


def preprocess(value: Any) -> PreprocessConfig:
    """Read what a model wants done to an image; the parameters of the node by name."""
    if not isinstance(value, dict):
        raise read.ValueProblem('expected an object such as {"color_order": "bgr", "scale": 1.0}')
    specs = {spec.name: spec for spec in specs_of(PreprocessConfig)}
    checked: dict[str, Any] = {}
    problems = []
    for name, given in value.items():
        if name not in specs:
            problems.append(f'unknown {name}{_hint(name, specs)}')
            continue
        checked[name], problem = specs[name].coerce(given, name)
        problems += [problem] if problem else []
    if problems:
        raise read.ValueProblem('; '.join(problems))
    return build(PreprocessConfig, checked)


SETTINGS: tuple[Setting, ...] = (
    Setting('model', read.path, 'ONNX model; or CONFIG.json, which may hold every setting.',
            'MODEL', is_path=True),
    Setting('precision', read.choice(PRECISIONS),
            'Arithmetic of the engine: fp32, fp16, int8, or mixed (fp16 with the layers of '
            'keep_fp32 in float32). fp16 unless given.', 'MODE'),
    Setting('output_dir', read.path, 'Folder of the engine; beside the model unless given.',
            'DIR', is_path=True),
    Setting('profiles', read.profiles,
            'Shapes of an open input: smallest, usual and largest; once for each input. What is '
            'left open is built for one image.', 'NAME:INPUT=MIN,OPT,MAX',
            is_list=True, option='profile'),
    Setting('keep_fp32', read.texts,
            'Pattern of node names or operator types that stay in float32, for mixed and int8.',
            'PATTERN', is_list=True),
    Setting('workspace', read.size,
            'Most scratch memory that one layer may use, such as 512MiB; 1GiB unless given.',
            'SIZE', group='builder'),
    Setting('optimization_level', read.integer(0, 5),
            '0 (fast build) to 5 (fast engine); 3 unless given.', 'LEVEL', group='builder'),
    Setting('tf32', read.switch, 'Let float32 layers round to TF32; not unless given.',
            group='builder'),
    Setting('timing_cache', read.path, 'File that keeps the timings of kernels between builds.',
            'FILE', group='builder', is_path=True),
    Setting('package', read.choice(('auto', *PACKAGES)),
            'Which TensorRT builds: tensorrt, tensorrt_rtx, or auto for the first installed.',
            'NAME', group='builder'),
    Setting('hardware_compatibility', read.choice(tuple(HARDWARE_COMPATIBILITY)),
            'Other GPUs that the engine runs on, at some cost of speed (TensorRT only): none, '
            'ampere_plus, same_compute_capability; none unless given.', 'KIND', group='builder'),
    Setting('branch', read.choice(('auto', 'direct', 'polygraphy', 'trtexec')),
            'What builds: direct, polygraphy, trtexec, or auto.', 'NAME', group='builder'),
    Setting('timeout', read.number(1.0, 86400.0, 's'),
            'A build in another process is killed after this long, in seconds; 600 unless given.',
            'SECONDS', group='builder'),
    Setting('sign', read.path, 'Ed25519 private key (PEM) that signs the manifest.', 'KEY',
            group='trust', is_path=True),
    Setting('params_file', read.path,
            'Parameter file of the node: path, precision, preprocess, decoder and labels of the '
            'model, and the folder of the engines, are taken from it.', 'FILE',
            group=_PROCESSING, is_path=True),
    Setting('model_name', read.text, 'Which model of the parameter file; needed where it has '
            'several.', 'NAME', group=_PROCESSING),
    Setting('node_name', read.text, 'Which node of the parameter file; needed where it has '
            'several.', 'NAME', group=_PROCESSING),
    Setting('decoder', read.choice(DECODERS), 'What the outputs mean; travels in the manifest.',
            'NAME', group=_PROCESSING),
    Setting('labels', read.path, 'File with one class name a line; travels in the manifest.',
            'FILE', group=_PROCESSING, is_path=True),
    Setting('preprocess', preprocess,
            'What the model wants done to an image; travels in the manifest.', 'OBJECT',
            group=_PROCESSING, is_json_only=True),
    Setting('calibration_method', read.choice(METHODS),
            'What finds INT8 ranges: explicit (Q/DQ pairs in the model), or implicit (the '
            'calibrator of TensorRT 10.x); explicit unless given.', 'METHOD', group=_INT8),
    Setting('calibration_images', read.path, 'Folder of images that INT8 ranges come from.',
            'DIR', group=_INT8, is_path=True),
    Setting('calibration_bag', read.path, 'Rosbag that INT8 ranges come from.', 'BAG',
            group=_INT8, is_path=True),
    Setting('calibration_topic', read.text, 'Image topic in that bag.', 'TOPIC', group=_INT8),
    Setting('calibration_every', read.integer(1, 1_000_000),
            'Take every n-th image of the bag; 1 unless given.', 'N', group=_INT8),
    Setting('calibration_min_images', read.integer(1, 1_000_000),
            'Fewer images are refused; 16 unless given.', 'N', group=_INT8),
    Setting('calibration_max_images', read.integer(1, 1_000_000),
            'Of more images, this many are taken, spread evenly; 500 unless given.', 'N',
            group=_INT8),
    Setting('accuracy_images', read.path, 'Folder of images that the accuracy is checked on.',
            'DIR', group=_INT8, is_path=True),
    Setting('accuracy_annotations', read.path, 'Ground truth of these images, COCO format.',
            'FILE', group=_INT8, is_path=True),
    Setting('max_map_drop', read.number(0.0, 1.0),
            'Largest accepted loss of mAP50 against float32; 0.03 unless given.', 'DROP',
            group=_INT8),
)
BY_NAME: Mapping[str, Setting] = {setting.name: setting for setting in SETTINGS}


def read_config_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    """
    Read CONFIG.json: values by name, paths relative to the file.

    :returns: the values with known names, and one line for each other or repeated name.
    :raises ConfigurationError: it cannot be read, or is no JSON object.
    """
    try:
        with path.open('rb') as stream:
            data = stream.read(_MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise ConfigurationError(f'{path} cannot be read ({error.strerror}); correct the path'
                                 ) from error
    problems: list[str] = []

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [name for name, _ in pairs]
        problems.extend(f'{path} has {name!r} more than once; keep one of them'
                        for name in dict.fromkeys(names) if names.count(name) > 1)
        return dict(pairs)

    try:
        if len(data) > _MAX_CONFIG_BYTES:
            raise ValueError(f'more than {_MAX_CONFIG_BYTES} bytes')
        content = json.loads(data.decode('utf-8-sig'), object_pairs_hook=once,
                             parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            f'{path} is no JSON ({error}), expected an object such as {{"model": "detector.onnx", '
            f'"precision": "fp16"}}; see docs/engines.md') from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f'{path} holds a JSON {type(content).__name__}, expected an object of settings by '
            f'name; see docs/engines.md')
    problems += [f'{path}: unknown setting {name!r}{_hint(name, BY_NAME)}'
                 for name in content if name not in BY_NAME]
    known = {name: value for name, value in content.items() if name in BY_NAME}
    for name, value in known.items():
        is_path = BY_NAME[name].is_path and isinstance(value, str)
        # Joining leaves an absolute path alone.
        if is_path and value.strip() and not value.startswith('~'):
            known[name] = str(path.parent / value)
    return known, problems


def check_settings(values: Mapping[str, Any], origins: Mapping[str, str]
                   ) -> tuple[dict[str, Any], list[str]]:
    """
    Check values one by one.

    :param values: as they were given, by name.
    :param origins: how the user knows each, for example ``--workspace``.
    :returns: the final values of those that can be used, and what is wrong with the rest.
    """
    final: dict[str, Any] = {}
    problems = []
    for name, value in values.items():
        try:
            final[name] = BY_NAME[name].read(value)
        except read.ValueProblem as problem:
            shown = value if isinstance(value, (dict, list)) else repr(value)
            problems.append(f'{origins[name]} is {_short(str(shown))}, {problem}')
    return final, problems


def _hint(name: str, known: Iterable[str]) -> str:
    near = nearest(name, known)
    return f'; did you mean {near!r}?' if near else f', expected one of {", ".join(known)}'


def _short(shown: str) -> str:
    shown = ' '.join(shown.split())
    return shown if len(shown) <= 100 else f'{shown[:97]}...'


def _no_constant(name: str) -> Any:
    raise ValueError(f'{name} is no number')
