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

"""From the settings of ``compile_engine compile`` to what is built, or to everything wrong."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import os
from pathlib import Path
import stat
from typing import Any
from typing import Mapping

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.building.profiles import NetworkInput
from c7_inference_ros.engines.building.profiles import settle_profiles
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.model_files.tensor_spec import TensorSpec
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.pipeline.engine_processing import processing_of
from c7_inference_ros.resources import find_file
from c7_inference_ros.tools.compile_settings import BY_NAME
from c7_inference_ros.tools.compile_settings import check_settings
from c7_inference_ros.tools.compile_settings import read_config_file
from c7_inference_ros.tools.int8_request import CalibrationRequest
from c7_inference_ros.tools.int8_request import IMPLICIT
from c7_inference_ros.tools.node_parameters import load_parameter_file
from c7_inference_ros.vision.labels import load_labels
from c7_inference_ros.vision.preprocess_spec import resolve_preprocess

_BY_HAND = ('preprocess', 'decoder', 'labels')
_FOLDERS = ('calibration_images', 'accuracy_images')
_SOURCES = ('calibration_images', 'calibration_bag')
#: Settings by their name in :class:`CalibrationRequest`.
_CALIBRATION = {
    'images': 'calibration_images', 'bag': 'calibration_bag', 'topic': 'calibration_topic',
    'every': 'calibration_every', 'min_images': 'calibration_min_images',
    'max_images': 'calibration_max_images', 'accuracy_images': 'accuracy_images',
    'accuracy_annotations': 'accuracy_annotations', 'max_drop': 'max_map_drop',
    'method': 'calibration_method'}


@dataclass(frozen=True)
class CompileRequest:
    """
    What a user wants built.

    :param model: the ONNX file.
    :param build: how.
    :param model_config: how the node would use the model; None where nobody said.
    :param labels: file with class names, or None.
    :param sign_key: private key that signs the manifest, or None.
    :param calibration: where INT8 ranges come from; None where the model brings them.
    """

    model: Path
    build: BuildConfig
    model_config: ModelConfig | None = None
    labels: Path | None = None
    sign_key: Path | None = None
    calibration: CalibrationRequest | None = None


def make_request(given: Mapping[str, Any]) -> CompileRequest:
    """
    Check all settings and make the request.

    :param given: what the command line says, by name; ``model`` may be CONFIG.json.
    :raises ConfigurationError: with one line for everything that is wrong.
    """
    values = dict(given)
    origins = {name: BY_NAME[name].flag for name in values}
    origins['model'] = 'MODEL'
    problems: list[str] = []
    if str(values.get('model', '')).lower().endswith('.json'):
        config_file = Path(values.pop('model'))
        in_file, problems = read_config_file(config_file)
        origins.update({name: f'{config_file}: {name}' for name in in_file if name not in values})
        values = {**in_file, **values}
    final, unusable = check_settings(values, origins)
    problems += unusable + _contradictions(values, origins)
    node: NodeConfig | None = None
    model_config: ModelConfig | None = None
    if 'params_file' in final:
        try:
            node = load_parameter_file(final['params_file'], final.get('node_name', ''))
            model_config = _model_of(node, final)
        except ConfigurationError as error:
            problems += error.problems
    model = labels = None
    try:
        model = _model_path(final, model_config, has_problems=bool(problems))
    except ConfigurationError as error:
        problems += error.problems
    try:
        labels = _labels_path(final, model_config)
    except ConfigurationError as error:
        problems += error.problems
    problems += _missing_files(final, origins)
    default = model_config.precision if model_config else BuildConfig.precision.value
    if 'precision' in final or 'precision' not in values:
        problems += _unfit_for_precision(final.get('precision', default), final, origins)
    if problems:
        raise ConfigurationError(problems)
    assert model is not None
    if model_config is None and any(name in final for name in _BY_HAND):
        model_config = ModelConfig(
            name='model', path=str(model), decoder=final.get('decoder', 'auto'),
            preprocess=final.get('preprocess', PreprocessConfig()))
    names: tuple[str, ...] = ()
    if labels is not None:
        names = load_labels(str(labels), {}, None, 'labels').names
    build = _build_config(final, node, model_config)
    if model_config is not None:
        build = replace(build, processing=processing_of(model_config, names))
    calibration = None
    if any(name in final for name in _SOURCES):
        calibration = CalibrationRequest(
            model, model_config, labels=labels, high_precision_nodes=build.high_precision_nodes,
            **{field: final[name] for field, name in _CALIBRATION.items() if name in final})
    return CompileRequest(model, build, model_config, labels, final.get('sign'), calibration)


def closed_profile(request: CompileRequest, inputs: tuple[TensorSpec, ...]
                   ) -> tuple[OptimizationProfile, ...]:
    """
    Return the profiles of a request; where none was given, that of the node's image size.

    A model may leave the size of its image open and the parameters of the node settle it; an
    engine for any other size would be of no use to the node.

    :param inputs: of the ONNX model.
    :raises ConfigurationError: the parameters or the profiles do not fit the model.
    """
    if request.build.profiles:
        _check_profiles(request, inputs)
    images = [spec for spec in inputs if len(spec.shape) == 4]
    if request.build.profiles or request.model_config is None or len(images) != 1 or all(
            side > 0 for side in images[0].shape[1:]):
        return request.build.profiles
    image = images[0]
    prefix = f'models.{request.model_config.name}.preprocess'
    shape = resolve_preprocess(request.model_config.preprocess, image.shape, image.dtype,
                               prefix).shape
    return (OptimizationProfile('default', {image.name: (shape, shape, shape)}),)


def _check_profiles(request: CompileRequest, inputs: tuple[TensorSpec, ...]) -> None:
    """Refuse profiles that contradict the model before anything is built."""
    if any(spec.dtype.kind in 'iu' and len(spec.shape) < 2 for spec in inputs):
        return  # its values may be shapes, which only the builder finds out
    try:
        settle_profiles(request.model.name, [
            NetworkInput(spec.name, spec.shape) for spec in inputs], request.build.profiles)
    except EngineBuildError as error:
        raise ConfigurationError(str(error)) from error


def _build_config(final: Mapping[str, Any], node: NodeConfig | None,
                  model: ModelConfig | None) -> BuildConfig:
    """Join what was given with what the node's parameters say; the rest keeps its default."""
    values: dict[str, Any] = {}
    if node is not None and model is not None:
        values['precision'] = PrecisionMode(model.precision)
        values['package'] = node.engines.package
        if node.engines.directory:
            values['output_dir'] = Path(node.engines.directory).expanduser()
    renamed = {'workspace': 'workspace_bytes', 'tf32': 'is_tf32_allowed', 'timeout': 'timeout_s',
               'keep_fp32': 'high_precision_nodes'}
    for name in ('output_dir', 'profiles', 'optimization_level', 'timing_cache', 'package',
                 'branch', *renamed):
        if name in final:
            values[renamed.get(name, name)] = final[name]
    if 'hardware_compatibility' in final:
        values['extras'] = {'hardware_compatibility': final['hardware_compatibility']}
    if 'precision' in final:
        values['precision'] = PrecisionMode(final['precision'])
    return BuildConfig(**values)


def _model_of(node: NodeConfig, final: Mapping[str, Any]) -> ModelConfig:
    name = final.get('model_name', '')
    if name in node.models:
        return node.models[name]
    names = ', '.join(node.models)
    if name:
        near = nearest(name, node.models)
        raise ConfigurationError(f'--model-name is {name!r}, but {final["params_file"]} has '
                                 f'{f"{near!r}; did you mean that?" if near else names}')
    if len(node.models) > 1:
        raise ConfigurationError(f'{final["params_file"]} has {len(node.models)} models '
                                 f'({names}); say which one is meant with --model-name')
    return next(iter(node.models.values()))


def _model_path(final: Mapping[str, Any], model: ModelConfig | None,
                has_problems: bool) -> Path | None:
    if 'model' in final:
        path: Path = final['model']
        where = 'MODEL'
    elif model is not None:
        where = f'{final["params_file"]}: models.{model.name}.path'
        path = find_file(model.path, where)
    elif has_problems:
        return None  # it may be what is wrong already
    else:
        raise ConfigurationError('no model; give MODEL.onnx, a CONFIG.json with "model", or '
                                 '--params-file')
    if path.suffix in ('.yaml', '.yml') and where == 'MODEL':
        raise ConfigurationError(f'MODEL is {path}, expected an ONNX model or CONFIG.json; a '
                                 f'parameter file is given with --params-file')
    if path.suffix == '.engine':
        raise ConfigurationError(f'{where} is {path}, an engine, expected the ONNX model that it '
                                 f'is built from; give that as MODEL.onnx')
    return path


def _labels_path(final: Mapping[str, Any], model: ModelConfig | None) -> Path | None:
    if 'labels' in final:
        return Path(final['labels'])
    if model is None or not model.labels:
        return None
    return find_file(model.labels, f'{final["params_file"]}: models.{model.name}.labels')


def _contradictions(values: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    """Say which settings do not go together, or lack another."""
    problems = []
    if 'params_file' in values:
        problems += [f'{origins[name]} and {origins["params_file"]} say the same thing; take one '
                     f'of them away' for name in _BY_HAND if name in values]
    for name, needed in (('model_name', 'params_file'), ('node_name', 'params_file'),
                         ('calibration_bag', 'calibration_topic'),
                         ('calibration_topic', 'calibration_bag'),
                         ('accuracy_images', 'accuracy_annotations'),
                         ('accuracy_annotations', 'accuracy_images'),
                         ('max_map_drop', 'accuracy_images'),
                         ('calibration_every', 'calibration_bag')):
        if name in values and needed not in values:
            problems.append(f'{origins[name]} needs {BY_NAME[needed].flag}; add it')
    if not any(name in values for name in _SOURCES):
        problems += [f'{origins[name]} needs --calibration-images or --calibration-bag; add one'
                     for name in ('calibration_min_images', 'calibration_max_images',
                                  'calibration_method', 'accuracy_images') if name in values]
    elif 'params_file' not in values and 'preprocess' not in values:
        name = next(name for name in _SOURCES if name in values)
        problems.append(f'{origins[name]} needs to know what the model wants done to an image; '
                        f'add --params-file, or preprocess in CONFIG.json')
    if values.get('calibration_method') == IMPLICIT and 'accuracy_images' in values:
        problems.append(f'{origins["accuracy_images"]} cannot be with implicit calibration, whose '
                        f'engine ONNX Runtime cannot run; take it away, or set '
                        f'--calibration-method explicit')
    if 'calibration_images' in values and 'calibration_bag' in values:
        problems.append(f'{origins["calibration_images"]} and {origins["calibration_bag"]} are '
                        f'two sources; take one of them away')
    return problems


def _unfit_for_precision(precision: str, final: Mapping[str, Any],
                         origins: Mapping[str, str]) -> list[str]:
    """Say which settings are for another precision, or missing for this one."""
    problems = [f'{origins[name]} is for int8, but precision is {precision}; set --precision int8 '
                f'or take it away'
                for name in ('calibration_images', 'calibration_bag', 'accuracy_images')
                if name in final and precision != 'int8']
    if 'keep_fp32' in final and precision in ('fp32', 'fp16'):
        problems.append(f'{origins["keep_fp32"]} is for mixed and int8, but precision is '
                        f'{precision}; set --precision mixed or take it away')
    elif 'keep_fp32' not in final and precision == 'mixed':
        problems.append('precision is mixed, which is fp16 with named layers in float32; name '
                        'them with --keep-fp32, or set --precision fp16')
    return problems


def _missing_files(final: Mapping[str, Any], origins: Mapping[str, str]) -> list[str]:
    """Say which of the files and folders that are read are not there; the model says more."""
    problems = []
    for name in ('sign', 'labels', 'calibration_bag', 'accuracy_annotations', *_FOLDERS):
        path = final.get(name)
        if path is None:
            continue
        try:
            is_folder = stat.S_ISDIR(os.stat(path).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            problems.append(f'{origins[name]} is {path}, which does not exist; correct the path')
        except OSError as error:
            problems.append(f'{origins[name]} is {path}, which cannot be looked at '
                            f'({error.strerror}); correct the path or its permissions')
        else:
            if name in _FOLDERS and not is_folder:
                problems.append(f'{origins[name]} is {path}, which is a file, expected a folder')
    folder = final.get('output_dir')
    if folder is not None and os.path.lexists(folder) and not os.path.isdir(folder):
        problems.append(f'{origins["output_dir"]} is {folder}, which is no folder; give another')
    for name in ('model', 'output_dir', 'timing_cache'):
        try:
            str(final.get(name, '')).encode()
        except UnicodeEncodeError:
            problems.append(f'{origins[name]} is {str(final[name])!r}, expected a name in UTF-8, '
                            f'which is all that the builder takes; rename it')
    return problems
