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
The file name of an engine, which says where it runs: one builder and one parser.

.. code-block:: text

    <model>__sm<cc>_jp<L4T or x86>_trt<version>_<precision>.engine
    yolox_nano__sm87_jp36.4.3_trt10.3.0_fp16.engine
    yolox_nano__smany_jpx86_rtx1.7.1.116_fp32.engine
"""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import re

from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.engines.types import TENSORRT
from c7_inference_ros.engines.types import TENSORRT_RTX
from c7_inference_ros.engines.types import X86
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineSchemaMismatchError

ENGINE_SUFFIX = '.engine'
MODEL_MAX_LENGTH = 64

_TAGS = {TENSORRT: 'trt', TENSORRT_RTX: 'rtx'}
_PACKAGES = {tag: package for package, tag in _TAGS.items()}
# Bounded, so that the name and what is appended to it fit into a directory entry.
_VERSION = r'[0-9]{1,6}(?:\.[0-9]{1,6}){1,4}'
_FIELDS = {
    'model': (r'[a-z0-9_]{1,%d}' % MODEL_MAX_LENGTH,
              f'1 to {MODEL_MAX_LENGTH} of a-z, 0-9 and _'),
    'sm': (rf'[1-9][0-9]{{1,2}}|{ANY_SM}',
           f'a compute capability without its dot, as in 87, or {ANY_SM}'),
    'platform': (rf'{X86}|{_VERSION}', f'an L4T release, as in 36.4.3, or {X86}'),
    'version': (_VERSION, 'numbers joined by dots, as in 10.3.0'),
}
_NAME = re.compile(
    r'(?P<model>{model})__sm(?P<sm>{sm})_jp(?P<platform>{platform})'
    r'_(?P<tag>trt|rtx)(?P<version>{version})'
    r'_(?P<precision>{precision})\.engine'.format(
        precision='|'.join(mode.value for mode in PrecisionMode),
        **{name: pattern for name, (pattern, _) in _FIELDS.items()}))


@dataclass(frozen=True)
class EngineName:
    """
    What the file name of an engine says.

    :param model: 1 to 64 of a-z, 0-9 and _, without two _ in a row.
    :param sm: as in :class:`HostTuple`; :data:`ANY_SM` only with TensorRT-RTX.
    :param platform: as in :class:`HostTuple`.
    :param package: ``tensorrt`` or ``tensorrt_rtx``.
    :param version: of the package, dotted.
    :param precision: what the engine was built for.
    :raises EngineSchemaMismatchError: a part has another form.
    """

    model: str
    sm: str
    platform: str
    package: str
    version: str
    precision: PrecisionMode

    def __post_init__(self) -> None:
        """Refuse parts that the name could not be parsed back from."""
        for field, (pattern, form) in _FIELDS.items():
            value = getattr(self, field)
            # Anything else, a number for example, could still look right in the text.
            if type(value) is not str or not re.fullmatch(pattern, value):
                raise EngineSchemaMismatchError(
                    f'engine name: {field} is {value!r}, expected {form}; correct it')
        if '__' in self.model:
            raise EngineSchemaMismatchError(
                f'engine name: model is {self.model!r}, expected no two _ in a row, which end the '
                f'model; correct it, or use model_slug()')
        if type(self.package) is not str or self.package not in _TAGS:
            raise EngineSchemaMismatchError(
                f'engine name: package is {self.package!r}, expected {" or ".join(_TAGS)}')
        if not isinstance(self.precision, PrecisionMode):
            raise EngineSchemaMismatchError(
                f'engine name: precision is {self.precision!r}, expected a PrecisionMode')
        if self.sm == ANY_SM and self.package != TENSORRT_RTX:
            raise EngineSchemaMismatchError(
                f'engine name: sm is {ANY_SM} with package {self.package}, expected '
                f'{TENSORRT_RTX}; only its engines are compiled for the GPU when they are loaded')

    @property
    def host(self) -> HostTuple:
        """Where the engine runs; the name does not know the device."""
        return HostTuple(self.sm, self.platform, self.package, self.version)

    def build(self) -> str:
        """Return the file name."""
        return (f'{self.model}__sm{self.sm}_jp{self.platform}_{_TAGS[self.package]}{self.version}'
                f'_{self.precision.value}{ENGINE_SUFFIX}')

    def matches_host(self, host: HostTuple) -> bool:
        """Whether the engine was built for a host; the precision is the caller's choice."""
        return not self.differences(host)

    def differences(self, host: HostTuple) -> list[tuple[str, str, str]]:
        """Return (field, in the name, of the host) of everything that differs."""
        return [(field, getattr(self, field), getattr(host, field))
                for field in ('sm', 'platform', 'package', 'version')
                if getattr(self, field) != getattr(host, field)]


def engine_name(model: str, host: HostTuple, precision: PrecisionMode) -> EngineName:
    """
    Return the name of a model's engine for a host.

    :param model: as in :class:`EngineName`; :func:`model_slug` makes it from a file name.
    :raises EngineSchemaMismatchError: a part has another form.
    """
    return EngineName(model, host.sm, host.platform, host.package, host.version, precision)


def parse_engine_name(name: str) -> EngineName:
    """
    Return what a file name says.

    :param name: the name without its folder.
    :raises EngineSchemaMismatchError: it is no name of an engine.
    """
    if type(name) is not str:
        raise EngineSchemaMismatchError(
            f'engine name is {name!r}, expected text, the name without its folder')
    match = _NAME.fullmatch(name)
    if match is None:
        raise EngineSchemaMismatchError(
            f'{name!r} is no name of an engine: {_why_not(name)}; expected '
            f'<model>__sm<cc>_jp<L4T or x86>_trt<version>_<precision>{ENGINE_SUFFIX}, as in '
            f'yolox_nano__sm87_jp36.4.3_trt10.3.0_fp16{ENGINE_SUFFIX}; compile the model with '
            f'compile_engine, which names its engines, instead of renaming files')
    return EngineName(
        match['model'], match['sm'], match['platform'], _PACKAGES[match['tag']],
        match['version'], PrecisionMode(match['precision']))


def model_slug(stem: str) -> str:
    """
    Turn the stem of an ONNX file name into the model part of an engine's name.

    Letters become lower-case; every run of other characters than a-z and 0-9 becomes one ``_``,
    and none stays at the ends. What is too long is cut, and ends in a hash of the whole so that
    two long names stay apart. ``YOLOX-Nano.v2`` and ``yolox_nano_v2`` give the same slug.

    :raises ConfigurationError: nothing is left.
    """
    slug = re.sub(r'[^a-z0-9]+', '_', stem.lower()).strip('_')
    if not slug:
        raise ConfigurationError(
            f'model name {stem!r} has no letter a-z and no digit, expected at least one to name '
            f'its engine; rename the ONNX file')
    if len(slug) > MODEL_MAX_LENGTH:
        digest = hashlib.sha256(stem.encode('utf-8', 'surrogateescape')).hexdigest()[:8]
        slug = f'{slug[:MODEL_MAX_LENGTH - 9].rstrip("_")}_{digest}'
    return slug


def _why_not(name: str) -> str:
    """Name the first thing that is wrong, in the order of reading."""
    model, separator, rest = name.partition('__')
    if not name.endswith(ENGINE_SUFFIX):
        return f'it does not end in {ENGINE_SUFFIX}'
    if not separator:
        return 'no __ ends the model'
    if not re.fullmatch(_FIELDS['model'][0], model):
        return f'model is {model!r}, expected {_FIELDS["model"][1]}'
    parts = rest[:-len(ENGINE_SUFFIX)].split('_')
    if len(parts) != 4:
        return f'{len(parts)} parts follow the model, expected 4'
    precision = ' '.join(mode.value for mode in PrecisionMode)
    for part, field, prefixes in zip(parts, ('sm', 'platform', 'version'),
                                     (('sm',), ('jp',), tuple(_PACKAGES))):
        form = _FIELDS[field][1]
        if not part.startswith(prefixes) or not re.fullmatch(
                _FIELDS[field][0], part[len(prefixes[0]):]):
            return f'{field} is {part!r}, expected {" or ".join(prefixes)} and {form}'
    return f'precision is {parts[3]!r}, expected one of {precision}'
