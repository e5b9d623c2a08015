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

"""The gate's verdict on engines, as the node would give it on this machine; without TensorRT."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
import os
from pathlib import Path
from typing import Any

from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.host import HostFacts
from c7_inference_ros.engines.host import probe_facts
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.trust.gate import TrustedEngine
from c7_inference_ros.engines.trust.manifest import MANIFEST_SUFFIX
from c7_inference_ros.engines.trust.manifest import read_manifest
from c7_inference_ros.errors import C7Error
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.tools.console import size_text


@dataclass(frozen=True)
class Trust:
    """
    What an engine is held against.

    :param public_key: key that must have signed the manifest, or None.
    :param deployment_list: file with the engines that may be loaded, or None.
    :param max_accuracy_drop: largest recorded loss of accuracy.
    """

    public_key: Path | None = None
    deployment_list: Path | None = None
    max_accuracy_drop: float = 1.0


@dataclass(frozen=True)
class Verdict:
    """
    What the gate says of one engine.

    :param path: the engine.
    :param trusted: what passed, or None.
    :param stage: which check refused; empty when none did.
    :param refusal: why, one line; empty when good.
    """

    path: Path
    trusted: TrustedEngine | None
    stage: str = ''
    refusal: str = ''

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {'engine': str(self.path), 'is_good': self.trusted is not None,
                'stage': self.stage, 'refusal': self.refusal,
                'sha256': self.trusted.sha256 if self.trusted else None,
                'warnings': list(self.trusted.warnings) if self.trusted else []}


def judge(path: Path, trust: Trust, facts: HostFacts | None = None) -> Verdict:
    """
    Judge one engine.

    :param facts: this machine, where it was looked at already.
    :raises ConfigurationError: the key or the list cannot be used, or there is no such file.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigurationError(f'{path} does not exist; correct the path') from error
    except OSError:
        pass  # the gate says why
    gate: EngineGate | None = None
    stage = 'name'
    try:
        name = parse_engine_name(path.name)
        stage = 'host'
        host = (facts or probe_facts()).host(name.package)
        stage = 'signature'  # what an EngineGate may lack is a library for it
        gate = EngineGate(host, deployment_list=trust.deployment_list,
                          public_key=trust.public_key,
                          max_accuracy_drop=trust.max_accuracy_drop)
        return Verdict(path, gate.validate(path))
    except ConfigurationError:
        raise
    except C7Error as error:
        return Verdict(path, None, gate.stage if gate else stage, ' '.join(str(error).split()))


def list_engines(folder: Path, trust: Trust) -> list[Verdict]:
    """
    Judge all engines in a folder, by name.

    :raises ConfigurationError: the folder cannot be read, or the key or the list not be used.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.name.endswith('.engine'))
    except OSError as error:
        raise ConfigurationError(f'{folder} cannot be read as a folder of engines '
                                 f'({error.strerror}); correct the path') from error
    facts = probe_facts() if paths else None
    return [judge(path, trust, facts) for path in paths]


def engine_row(verdict: Verdict) -> tuple[str, ...]:
    """Return (model, precision, GPU, platform, TensorRT, size, built, verdict) for a table."""
    path = verdict.path
    try:
        name = parse_engine_name(path.name)
    except EngineSchemaMismatchError:
        what: tuple[str, ...] = (path.name, '?', '?', '?', '?')
    else:
        kind = 'RTX ' if name.package == 'tensorrt_rtx' else ''
        what = (name.model, name.precision.value, 'any' if name.sm == 'any' else f'SM {name.sm}',
                name.platform, f'{kind}{name.version}')
    return (*what, _size(path), _built(verdict),
            'good' if verdict.trusted else f'refused: {verdict.stage}')


def _size(path: Path) -> str:
    try:
        return size_text(path.stat().st_size)
    except OSError:
        return '?'


def _built(verdict: Verdict) -> str:
    try:
        manifest = verdict.trusted.manifest if verdict.trusted else read_manifest(
            verdict.path.with_name(verdict.path.name + MANIFEST_SUFFIX))
        return datetime.fromisoformat(
            manifest.built_at.replace('Z', '+00:00')).strftime('%Y-%m-%d %H:%M')
    except (C7Error, ValueError):
        return '?'
