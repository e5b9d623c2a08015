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
What an engine was built from, as one hash, and which part of it changed.

The parts are kept in the manifest by name, so that the next compile can say why it builds again.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any
from typing import Mapping

from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile

#: Where the parts are in :attr:`EngineManifest.settings`.
PARTS = 'built_from'
#: Raised when engines of before have to be built again although nothing else changed.
_SCHEME = 1
_SHORT = 60


def build_parts(onnx_sha256: str, converter: str, host: HostTuple, branch: str,
                config: BuildConfig, calibration: Mapping[str, Any] | None = None,
                accuracy: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """
    Return everything that an engine depends on, plain values by a name for people.

    Where the engine is written, how long that may take and which timings are at hand is no part
    of it.

    :param onnx_sha256: of the model, before any conversion.
    :param converter: version of what converts it.
    :param calibration: what INT8 ranges were found from, plain values.
    :param accuracy: what accuracy was checked on, plain values.
    """
    return {
        'scheme': _SCHEME,
        'ONNX model': onnx_sha256,
        'converter': converter,
        'package': host.package,
        'version': host.version,
        'SM': host.sm,
        'platform': host.platform,
        'device': host.device_name,
        'branch': branch,
        'precision': config.precision.value,
        'profiles': profiles_to_plain(config.profiles),
        'workspace': config.workspace_bytes,
        'optimization level': config.optimization_level,
        'TF32': config.is_tf32_allowed,
        'layers in float32': sorted(config.high_precision_nodes),
        'processing': _plain(config.processing),
        'settings of the runtime': _plain(config.extras),
        'calibration': _plain(calibration),
        'accuracy check': _plain(accuracy),
    }


def profiles_to_plain(profiles: tuple[OptimizationProfile, ...]) -> list[dict[str, Any]]:
    """Return profiles as JSON has them."""
    return [{'name': profile.name,
             'shapes': {name: [list(shape) for shape in shapes]
                        for name, shapes in sorted(profile.shapes.items())}}
            for profile in profiles]


def key_of(parts: Mapping[str, Any]) -> str:
    """Return the hash of all parts, 64 lowercase hex characters."""
    text = json.dumps(parts, sort_keys=True, separators=(',', ':'), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def changes(old: Any, new: Mapping[str, Any]) -> str:
    """
    Say which parts changed.

    :param old: parts of the present engine as its manifest has them, or None.
    :returns: one clause; empty when nothing did.
    """
    if not isinstance(old, Mapping) or 'scheme' not in old or old['scheme'] != new['scheme']:
        return 'it does not say, in a way that this version reads, what it was built from'
    new = json.loads(json.dumps(new))
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    return ', '.join(_change(name, old.get(name), new.get(name)) for name in names)


def _change(name: str, old: Any, new: Any) -> str:
    before, after = _shown(old), _shown(new)
    if len(before) + len(after) > _SHORT or isinstance(old, dict) or isinstance(new, dict):
        if isinstance(old, dict) and isinstance(new, dict):
            inner = [key for key in sorted({**old, **new}) if old.get(key) != new.get(key)]
            return f'{name} changed ({", ".join(inner)})'
        return f'{name} changed'
    return f'{name} changed from {before} to {after}'


def _shown(value: Any) -> str:
    if value in (None, '', [], {}):
        return 'none'
    if isinstance(value, str) and len(value) == 64:
        return f'{value[:12]}...'
    return value if isinstance(value, str) else json.dumps(value)


def _plain(value: Any) -> Any:
    """Return a value as it comes back from JSON."""
    return json.loads(json.dumps(value, sort_keys=True, default=str))
