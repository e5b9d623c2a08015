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
Pre- and post-processing that travelled with an engine, joined with the YAML.

An engine knows how its model was trained and calibrated. A setting that the YAML leaves at its
default is taken from the engine; one that contradicts it is refused, because detections would be
quietly worse.
"""

from __future__ import annotations

from dataclasses import fields
from dataclasses import replace
import json
from typing import Any
from typing import Mapping

from c7_inference_ros.config import ModelConfig
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.parameter_groups import PreprocessConfig

_KNOWN = ('preprocess', 'decoder', 'labels')
#: Settings whose default leaves the decision to the model.
_OPEN = ('layout', 'dtype', 'width', 'height')


def processing_of(config: ModelConfig, labels: tuple[str, ...] = ()) -> dict[str, Any]:
    """
    Return what a model's settings say, to travel with its engine.

    :param labels: class names, where they are known.
    :returns: plain values; what :func:`with_processing` reads.
    """
    preprocess = {entry.name: getattr(config.preprocess, entry.name)
                  for entry in fields(PreprocessConfig)}
    return {'preprocess': {name: list(value) if isinstance(value, tuple) else value
                           for name, value in preprocess.items()},
            'decoder': config.decoder, 'labels': list(labels)}


def with_processing(config: ModelConfig, processing: Mapping[str, Any]) -> ModelConfig:
    """
    Return settings completed by what travelled with the engine.

    :param config: what the YAML says.
    :param processing: of the engine's manifest; empty for other models.
    :raises ConfigurationError: with one line for each contradiction.
    """
    prefix = f'models.{config.name}'
    problems = [f'the engine of {prefix} carries {key!r}, expected {", ".join(_KNOWN)}; it was '
                f'compiled by another version: compile it again'
                for key in processing if key not in _KNOWN]
    known = {entry.name: entry for entry in fields(PreprocessConfig)}
    taken: dict[str, Any] = {}
    for name, value in (processing.get('preprocess') or {}).items():
        if name not in known:
            problems.append(f'the engine of {prefix} carries preprocess.{name}, which does not '
                            f'exist; it was compiled by another version: compile it again')
            continue
        value, problem = known[name].metadata['parameter_spec'].coerce(
            value, f'preprocess.{name} of the engine of {prefix}')
        if problem:
            problems.append(f'{problem}; compile it again')
        elif not (name in _OPEN and value == known[name].default):
            wanted = getattr(config.preprocess, name)
            if wanted not in (value, known[name].default):
                problems.append(_contradiction(f'{prefix}.preprocess.{name}', wanted, value))
            taken[name] = value
    decoder = processing.get('decoder') or 'auto'
    if decoder == 'auto':
        decoder = config.decoder
    elif config.decoder not in (decoder, 'auto'):
        problems.append(_contradiction(f'{prefix}.decoder', config.decoder, decoder))
    if problems:
        raise ConfigurationError(problems)
    return replace(config, preprocess=replace(config.preprocess, **taken), decoder=decoder)


def metadata_with_labels(metadata: Mapping[str, str],
                         processing: Mapping[str, Any]) -> Mapping[str, str]:
    """Return the metadata of a model with the class names that travelled with its engine."""
    names = processing.get('labels')
    return {**metadata, 'names': json.dumps(list(names))} if names else metadata


def _contradiction(name: str, wanted: Any, found: Any) -> str:
    return (f'{name} is {wanted!r}, but the engine was compiled for {found!r}; take it out of the '
            f'YAML, or compile the engine with the other value')
