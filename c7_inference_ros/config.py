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
Every parameter of the node, once: the only source of defaults, ranges and units.

The node declares these records, ``config/*.yaml`` and ``docs/parameters.md`` are tested against
them. :func:`load_config` turns plain values (from ROS or from a YAML file) into one
:class:`NodeConfig`, or says everything that is wrong at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field
import re
from typing import Any
from typing import Iterable
from typing import Iterator
from typing import Mapping

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import DiagnosticsConfig
from c7_inference_ros.parameter_groups import EngineConfig
from c7_inference_ros.parameter_groups import MemoryConfig
from c7_inference_ros.parameter_groups import PreprocessConfig
from c7_inference_ros.parameter_groups import shedding_problems
from c7_inference_ros.parameter_groups import ThermalConfig
from c7_inference_ros.parameter_spec import build
from c7_inference_ros.parameter_spec import Mutability
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.parameter_spec import parameter
from c7_inference_ros.parameter_spec import ParameterSpec
from c7_inference_ros.parameter_spec import specs_of

STRUCTURAL, CONFIGURE, DYNAMIC = Mutability.STRUCTURAL, Mutability.CONFIGURE, Mutability.DYNAMIC
#: Strategies of :func:`c7_inference_ros.runtime.factory.build_inference_runtime`.
RUNTIMES = ('tensorrt', 'onnx_trt_ep', 'pytorch_fp16', 'dummy')
PRECISIONS = ('fp32', 'fp16', 'int8', 'mixed')
DECODERS = ('auto', 'yolox', 'yolov5', 'yolov8', 'yolov10', 'detr', 'efficient_nms',
            'tf_detection', 'ssd')
#: One of these stands for "every one" in an array of names.
EVERY = '*'
#: Parameters that ROS itself declares on a node, and groups of them.
ROS_PARAMETERS, ROS_GROUPS = ('use_sim_time', 'start_type_description_service'), 'qos_overrides.'
_NAME = re.compile(r'[a-z](_?[a-z0-9])*')


@dataclass(frozen=True)
class ModelConfig:
    """One detection model."""

    path: str = parameter(
        '', 'Model file: ONNX; for the runtime tensorrt an engine, or the ONNX model whose engine'
        ' for this machine is looked for; for pytorch_fp16 a TorchScript or exported program. A'
        ' relative path is looked for in the share folder of this package and then in the working'
        ' directory.', CONFIGURE)
    precision: str = parameter(
        'fp16', 'Precision of the engine that is looked for when the runtime is tensorrt and path'
        ' is an ONNX model, or that the TensorRT provider of ONNX Runtime builds.', CONFIGURE,
        choices=PRECISIONS)
    decoder: str = parameter(
        'auto', 'What the output tensors mean; auto decides where names and shapes leave no'
        ' doubt.', CONFIGURE, choices=DECODERS)
    labels: str = parameter(
        '', 'File with one class name a line; empty takes the names in the metadata of the model.',
        CONFIGURE)
    preprocess: PreprocessConfig = field(default_factory=PreprocessConfig)
    score_threshold: float = parameter(
        0.4, 'Detections below are dropped.', DYNAMIC, minimum=0.0, maximum=1.0)
    class_score_thresholds: tuple[str, ...] = parameter(
        ('',), 'Thresholds of single classes, as "name=0.5"; an empty string is ignored.',
        DYNAMIC)
    classes: tuple[str, ...] = parameter(
        (EVERY,), 'Class names to publish; * is every class.', DYNAMIC)
    nms_threshold: float = parameter(
        0.45, 'Overlap (intersection over union) above which the weaker of two boxes of a class'
        ' is dropped; not used where the model does this itself.', DYNAMIC,
        minimum=0.0, maximum=1.0)
    class_agnostic_nms: bool = parameter(
        False, 'Let boxes of different classes suppress each other.', DYNAMIC)
    max_detections: int = parameter(
        300, 'Largest number of detections of one image; the best are kept.', DYNAMIC,
        minimum=1, maximum=10000)
    priority: int = parameter(
        0, 'Models of a lower priority are skipped first when load is shed because of heat.',
        DYNAMIC, minimum=-1000, maximum=1000)
    name: str = ''


@dataclass(frozen=True)
class CameraConfig:
    """One image stream."""

    image_topic: str = parameter(
        '{name}/image_raw', 'Topic of the images, without the transport suffix.', CONFIGURE)
    image_transport: str = parameter(
        'raw', 'raw takes sensor_msgs/Image; compressed takes sensor_msgs/CompressedImage from'
        ' <image_topic>/compressed.', CONFIGURE, choices=('raw', 'compressed'))
    models: tuple[str, ...] = parameter(
        (EVERY,), 'Names of the models that look at this camera; * is every model.', CONFIGURE)
    max_rate: float = parameter(
        0.0, 'Most images a second that are processed, the others are dropped and counted; 0 takes'
        ' all.', DYNAMIC, unit='Hz', minimum=0.0, maximum=1000.0)
    name: str = ''


@dataclass(frozen=True)
class NodeConfig:
    """All settings of one node."""

    camera_names: tuple[str, ...] = parameter(
        ('camera',), 'Names of the cameras; each has its parameters under cameras.<name>.',
        STRUCTURAL)
    model_names: tuple[str, ...] = parameter(
        ('detector',), 'Names of the models; each has its parameters under models.<name>.',
        STRUCTURAL)
    autostart: bool = parameter(
        False, 'Configure and activate without a lifecycle manager.', STRUCTURAL)
    runtime: str = parameter(
        'onnx_trt_ep', 'What runs the models.', CONFIGURE, choices=RUNTIMES)
    execution_providers: tuple[str, ...] = parameter(
        ('CPUExecutionProvider',), 'ONNX Runtime execution providers, in order of preference.',
        CONFIGURE)
    allow_cpu_fallback: bool = parameter(
        True, 'Run on the CPU, with a warning, when a wanted provider does not load; false'
        ' refuses to configure.', CONFIGURE)
    intra_op_threads: int = parameter(
        0, 'Threads of one inference on a CPU; 0 lets the runtime decide.', CONFIGURE,
        minimum=0, maximum=256)
    max_image_age: float = parameter(
        0.5, 'Images older than this when their turn comes are dropped; 0 takes any age.',
        DYNAMIC, unit='s', minimum=0.0, maximum=3600.0)
    inference_timeout: float = parameter(
        5.0, 'An inference that takes longer sends the node through its error transition.',
        DYNAMIC, unit='s', minimum=0.05, maximum=600.0)
    drain_timeout: float = parameter(
        2.0, 'Longest wait for the frame in work when deactivating.', DYNAMIC, unit='s',
        minimum=0.0, maximum=60.0)
    engines: EngineConfig = field(default_factory=EngineConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)
    diagnostics: DiagnosticsConfig = field(default_factory=DiagnosticsConfig)
    thermal: ThermalConfig = field(default_factory=ThermalConfig)
    cameras: Mapping[str, CameraConfig] = field(default_factory=dict)
    models: Mapping[str, ModelConfig] = field(default_factory=dict)

    def models_of(self, camera: str) -> tuple[str, ...]:
        """Return the names of the models that look at a camera, in the order of model_names."""
        wanted = self.cameras[camera].models
        return tuple(name for name in self.model_names if EVERY in wanted or name in wanted)


def parameters_of(camera_names: tuple[str, ...], model_names: tuple[str, ...]
                  ) -> Iterator[tuple[str, ParameterSpec, Any]]:
    """Yield (full name, record, default) of every parameter that a node with these names has."""
    for spec in specs_of(NodeConfig):
        yield spec.name, spec, spec.default
    for group, names, kind in (('cameras', camera_names, CameraConfig),
                               ('models', model_names, ModelConfig)):
        for name in names:
            for spec in specs_of(kind):
                yield f'{group}.{name}.{spec.name}', spec, spec.default_for(name)


def check_names(values: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with camera_names and model_names, one line each."""
    problems: list[str] = []
    for key in ('camera_names', 'model_names'):
        names = values[key]
        if not names:
            problems.append(f'{key} is empty, expected at least one name')
        problems += [f'{key} names {name!r} more than once; give each its own name'
                     for name in sorted({name for name in names if names.count(name) > 1})]
        problems += [f'{key} has {name!r}; names are lowercase letters, digits and single '
                     f'underscores and begin with a letter, because they become topic names'
                     for name in names if not is_name(name)]
    return problems


def is_name(name: str) -> bool:
    """Return whether a camera or model can be called this: it becomes part of topic names."""
    return _NAME.fullmatch(name) is not None


def is_ros_parameter(name: str) -> bool:
    """Return whether a parameter is one that ROS itself declares on a node."""
    return name in ROS_PARAMETERS or name.startswith(ROS_GROUPS)


def load_config(values: Mapping[str, Any]) -> NodeConfig:
    """
    Check plain values and make the configuration of a node.

    :param values: value by full parameter name, for example ``models.detector.path``.
    :raises ConfigurationError: with one line for everything that is wrong.
    """
    top: dict[str, Any] = {}
    problems: list[str] = []
    for spec in specs_of(NodeConfig):
        top[spec.name], problem = spec.coerce(values.get(spec.name, spec.default), spec.name)
        problems += [problem] if problem else []
    problems += check_names(top)
    known: dict[str, ParameterSpec] = {}
    checked: dict[str, Any] = {}
    for name, spec, default in parameters_of(tuple(dict.fromkeys(top['camera_names'])),
                                             tuple(dict.fromkeys(top['model_names']))):
        known[name] = spec
        if name not in top:
            checked[name], problem = spec.coerce(values.get(name, default), name)
            problems += [problem] if problem else []
    problems += unknown_keys(values, known)
    config = build(NodeConfig, top, cameras=_group(CameraConfig, 'cameras', top, checked),
                   models=_group(ModelConfig, 'models', top, checked))
    for camera in config.cameras.values():
        problems += [_unknown_model(camera, wanted, config.model_names)
                     for wanted in camera.models if wanted not in (EVERY, *config.model_names)]
    problems += shedding_problems(config.thermal)
    if problems:
        raise ConfigurationError(problems)
    return config


def unknown_keys(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return one line for each name that is no parameter, with the nearest known one."""
    known = set(known)
    lines = []
    for name in sorted(set(names) - known):
        near = nearest(name, known)
        hint = f'did you mean {near}?' if near else 'see docs/parameters.md'
        lines.append(f'unknown parameter {name}; {hint}')
    return lines


def _group(kind: Any, group: str, top: Mapping[str, Any],
           checked: Mapping[str, Any]) -> dict[str, Any]:
    result = {}
    for name in top[f'{group[:-1]}_names']:
        prefix = f'{group}.{name}.'
        result[name] = build(kind, {key[len(prefix):]: value for key, value in checked.items()
                                    if key.startswith(prefix)}, name=name)
    return result


def _unknown_model(camera: CameraConfig, wanted: str, model_names: tuple[str, ...]) -> str:
    near = nearest(wanted, model_names)
    hint = f'; did you mean {near!r}?' if near else ''
    return (f'cameras.{camera.name}.models has {wanted!r}, '
            f'expected * or one of {", ".join(model_names)}{hint}')
