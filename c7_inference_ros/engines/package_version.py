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

"""Which version of TensorRT an import would give, read from its files without importing it."""

from __future__ import annotations

from importlib import metadata
from importlib import util
from pathlib import Path
import re
import sys

#: Distributions that hold a package; on a Jetson it comes without any.
_DISTRIBUTIONS = {
    'tensorrt': ('tensorrt', 'tensorrt-cu13', 'tensorrt-cu12', 'tensorrt-cu11'),
    'tensorrt_rtx': ('tensorrt-rtx', 'tensorrt-rtx-cu13', 'tensorrt-rtx-cu12'),
}
_VERSION = re.compile(r'^__version__\s*=\s*[\'"]([^\'"]+)[\'"]', re.MULTILINE)
_FROM = re.compile(r'^from\s+([A-Za-z_]\w*)\s+import\b.*(?:\*|\b__version__\b)', re.MULTILINE)
_DOTTED = re.compile(r'\d+(?:\.\d+)+')


def installed_version(package: str) -> str | None:
    """
    Return the version of TensorRT or TensorRT-RTX, dotted, or None where it is not installed.

    The text of the package comes first: that is what ``__version__`` would be. What a distribution
    says can be another number (``10.0.1.post1``).

    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    """
    loaded = getattr(sys.modules.get(package), '__version__', None)
    if isinstance(loaded, str):
        return _dotted(loaded)
    text = _source(package)
    if text is None:
        return None
    return _version_in(text) or _version_behind(text) or _version_of_distribution(package)


def _version_in(text: str) -> str | None:
    match = _VERSION.search(text)
    return _dotted(match[1]) if match else None


def _version_behind(text: str) -> str | None:
    """Return the version of a package that this one takes its names from."""
    for module in _FROM.findall(text):
        source = _source(module)
        version = source and _version_in(source)
        if version:
            return version
    return None


def _version_of_distribution(package: str) -> str | None:
    for name in _DISTRIBUTIONS.get(package, ()):
        try:
            return _dotted(metadata.version(name))
        except metadata.PackageNotFoundError:
            continue
    return None


def _source(module: str) -> str | None:
    """Return the text of a top-level module; None for stubs, which have no code, and for none."""
    try:
        spec = util.find_spec(module)
    except (ImportError, ValueError):
        return None
    # A folder that holds only stubs is found as a namespace, without a file.
    if spec is None or not spec.origin or not spec.has_location:
        return None
    try:
        return Path(spec.origin).read_text(encoding='utf-8', errors='replace')
    except OSError:
        return None


def _dotted(version: str) -> str | None:
    match = _DOTTED.match(version)
    return match[0] if match else None
