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

"""What is compared: the configuration of a parameter file with other runtimes and precisions."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import replace
import itertools
from pathlib import Path
from typing import Mapping
from typing import Sequence

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.config import NodeConfig
from c7_inference_ros.config import PRECISIONS
from c7_inference_ros.config import RUNTIMES
from c7_inference_ros.engines.filename import ENGINE_SUFFIX
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_spec import nearest
from c7_inference_ros.resources import find_file
from c7_inference_ros.runtime.ort.providers import CPU
from c7_inference_ros.runtime.ort.providers import TENSORRT

RUNTIME, PRECISION, PROVIDER = 'runtime', 'precision', 'provider'
AXES: Mapping[str, tuple[str, ...]] = {
    RUNTIME: RUNTIMES, PRECISION: PRECISIONS,
    PROVIDER: (TENSORRT, 'CUDAExecutionProvider', CPU)}
#: File types that a runtime loads, best first.
_SUFFIXES: Mapping[str, tuple[str, ...]] = {
    'onnx_trt_ep': ('.onnx',), 'tensorrt': ('.onnx', ENGINE_SUFFIX),
    'pytorch_fp16': ('.pt2', '.ts', '.pt'), 'dummy': ('.yaml', '.yml')}


@dataclass(frozen=True)
class Subject:
    """
    One configuration that is measured.

    :param label: what tells it from the others.
    :param config: of the node.
    :param is_configured: whether the parameter file says just this.
    :param needs: what the runtime must say that it runs on for the label to be true; empty for
        anything.
    """

    label: str
    config: NodeConfig
    is_configured: bool = True
    needs: str = ''


@dataclass(frozen=True)
class Absent:
    """A configuration that was asked for and is not measured, and why: one sentence."""

    label: str
    reason: str


def parse_comparisons(texts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """
    Read ``runtime=onnx_trt_ep,pytorch_fp16`` and the like.

    :returns: values by axis, each once.
    :raises ConfigurationError: with one line for everything that is wrong.
    """
    found: dict[str, tuple[str, ...]] = {}
    problems = []
    for text in texts:
        axis, _, listed = text.partition('=')
        values = tuple(dict.fromkeys(value.strip() for value in listed.split(',') if value))
        if axis not in AXES:
            near = nearest(axis, AXES)
            hint = f'; did you mean {near}?' if near else ''
            problems.append(f'--compare {text}: {axis!r} cannot be compared, expected one of '
                            f'{", ".join(AXES)}, as in runtime=onnx_trt_ep,tensorrt{hint}')
            continue
        if not values:
            problems.append(f'--compare {text} has no value; expected some of '
                            f'{", ".join(AXES[axis])}')
        for value in values:
            if value not in AXES[axis]:
                near = nearest(value, AXES[axis])
                hint = f'; did you mean {near}?' if near else ''
                problems.append(f'--compare {axis} has {value!r}, expected some of '
                                f'{", ".join(AXES[axis])}{hint}')
        if axis in found:
            problems.append(f'--compare {axis} is given twice; list all values in one')
        found[axis] = values
    if problems:
        raise ConfigurationError(problems)
    return found


def subjects_of(config: NodeConfig, comparisons: Mapping[str, Sequence[str]]
                ) -> tuple[list[Subject], list[Absent]]:
    """
    Return what is to be measured, and what cannot be.

    What the parameter file says comes first if it is among them.

    :param comparisons: values by axis; empty for the parameter file alone.
    """
    if not comparisons:
        return [Subject(config.runtime, config)], []
    subjects: dict[str, Subject] = {}
    absent: list[Absent] = []
    for values in itertools.product(*comparisons.values()):
        made = _subject(config, dict(zip(comparisons, values)), absent)
        if made is not None:
            subjects.setdefault(made.label, made)
    return (sorted(subjects.values(), key=lambda one: not one.is_configured),
            list(dict.fromkeys(absent)))


def only_models(config: NodeConfig, names: Sequence[str]) -> NodeConfig:
    """
    Return the configuration with some of its models.

    :raises ConfigurationError: one is not there.
    """
    problems = []
    for name in names:
        if name not in config.models:
            near = nearest(name, config.models)
            hint = f'; did you mean {near}?' if near else ''
            problems.append(f'--model {name} is not in model_names, expected some of '
                            f'{", ".join(config.models)}{hint}')
    if problems:
        raise ConfigurationError(problems)
    return replace(config, models={name: model for name, model in config.models.items()
                                   if name in names or not names})


def _subject(config: NodeConfig, chosen: Mapping[str, str], absent: list[Absent]
             ) -> Subject | None:
    """Return one combination; None, and a reason in ``absent``, where it does not exist."""
    runtime = chosen.get(RUNTIME, config.runtime)
    label, needs = runtime, ''
    made = replace(config, runtime=runtime)
    provider = chosen.get(PROVIDER)
    if provider is not None and runtime == 'onnx_trt_ep':
        label = f'{runtime} {provider.removesuffix("ExecutionProvider")}'
        # Under the name of a GPU nothing else may run.
        made = replace(made, execution_providers=(provider,), allow_cpu_fallback=False)
        needs = provider
    elif provider is not None:
        absent.append(Absent(f'{runtime} {provider}', f'{runtime} has no execution providers'))
    precision = chosen.get(PRECISION)
    if precision is not None:
        if runtime == 'tensorrt' or (
                runtime == 'onnx_trt_ep' and TENSORRT in made.execution_providers):
            label = f'{label} {precision}'
            needs = TENSORRT if runtime == 'onnx_trt_ep' else needs
            made = replace(made, models={
                name: replace(model, precision=precision) for name, model in made.models.items()})
        else:
            absent.append(Absent(f'{label} {precision}', _no_precision(runtime)))
    try:
        models = {name: replace(model, path=_path_for(runtime, config.runtime, model))
                  for name, model in made.models.items()}
    except ConfigurationError as error:
        absent.append(Absent(label, str(error)))
        return None
    made = replace(made, models=models)
    return Subject(label, made, replace(
        made, allow_cpu_fallback=config.allow_cpu_fallback) == config, needs)


def _no_precision(runtime: str) -> str:
    if runtime == 'onnx_trt_ep':
        return (f'only {TENSORRT} builds for a precision; other providers run the model as its '
                f'file is: put {TENSORRT} into execution_providers, or take another file')
    return f'{runtime} runs at the precision of its file and device'


def _path_for(runtime: str, configured: str, model: ModelConfig) -> str:
    """Return the file of a model that another runtime loads: of the same name beside it."""
    suffixes = _SUFFIXES[runtime]
    path = Path(model.path)
    if runtime == configured or path.suffix in suffixes:
        return model.path
    stem = path.name.partition('__')[0] if path.suffix == ENGINE_SUFFIX else path.stem
    for suffix in suffixes:
        try:
            found = str(path.with_name(f'{stem}{suffix}'))
            find_file(found, f'models.{model.name}.path')
            return found
        except (ConfigurationError, OSError, ValueError):
            continue
    names = ' or '.join(f'{stem}{suffix}' for suffix in suffixes)
    raise ConfigurationError(f'{runtime} has no file of model {model.name}: there is no {names} '
                             f'beside {model.path}; put one there')
