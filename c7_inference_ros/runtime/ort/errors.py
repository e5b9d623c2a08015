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

"""What ONNX Runtime says when it refuses a model, in one sentence that helps."""

from __future__ import annotations

from pathlib import Path
import re

_PREFIX = re.compile(r'^\[ONNXRuntimeError\] : \d+ : \w+ : ')
# A source file with its line, and the signature of the function there.
_SOURCE = re.compile(r'\S*onnxruntime_src/\S+ [^()]*\((?:[^()]|\([^()]*\))*\)(?: const)? ')
_MAX = 300
_IR = re.compile(r'Unsupported model IR version: (\d+), max supported IR version: (\d+)')
_OPSET = re.compile(r'Opset (\d+) is under development')
_NEWEST_OPSET = re.compile(r'[Cc]urrent official support for domain \S+ is till opset (\d+)')
_NO_OPERATOR = re.compile(r'Fatal error: (?:(\S*):)?(\w+)\(-?\d+\) is not a registered'
                          r'|No Op registered for (\w+) with domain_version of (\d+)')
_NO_KERNEL = re.compile(r'Could not find an implementation for (\S+)')
# As ONNX Runtime 1.23 and 1.32 say it.
_OTHER_SHAPE = re.compile(
    r'(?:Current shape:|has shape )\{([\d,]*)\}'
    r'(?: Requested shape:| but the computed output shape for this run is )\{([\d,]*)\}')
_NO_MEMORY = ('bad allocation', 'bad_alloc', 'out of memory', 'Failed to allocate memory',
              'CUDA_ERROR_OUT_OF_MEMORY', 'OOM')


def load_problem(path: Path, label: str, text: str) -> str:
    """
    Return why a model could not be loaded, and what to do.

    :param label: which ONNX Runtime refused.
    :param text: its own message.
    """
    found = _IR.search(text)
    if found:
        return (f'{path} is in ONNX IR version {found[1]}, {label} reads up to {found[2]}; '
                f'export it with an older version of onnx, or install a newer onnxruntime')
    found = _OPSET.search(text)
    if found:
        newest = _NEWEST_OPSET.search(text)
        reads = f'reads up to {newest[1]}' if newest else 'does not read that'
        return (f'{path} uses ONNX opset {found[1]}, {label} {reads}; export it with an older '
                f'opset, or install a newer onnxruntime')
    found = _NO_OPERATOR.search(text)
    if found:
        name = f'{found[1]}:{found[2]}' if found[1] else found[2] or found[3]
        where = f' in opset {found[4]}' if found[4] else ''
        return (f'{path} uses the operator {name}{where}, which {label} does not have; export '
                f'the model without it, or with an opset that has it')
    found = _NO_KERNEL.search(text)
    if found:
        return (f'{path} uses the operator {found[1]} with an element type that {label} has no '
                f'implementation of; export the model with another precision or opset')
    return f'{path} is refused by {label}: {clean(text)}; check the model with onnx.checker'


def other_shape(text: str) -> tuple[list[int], list[int]] | None:
    """Return (declared, real) shape of an output that is not as declared, or None."""
    found = _OTHER_SHAPE.search(text)
    if not found:
        return None
    declared, real = ([int(size) for size in shape.split(',') if size]
                      for shape in found.groups())
    return declared, real


def is_out_of_memory(text: str) -> bool:
    """Return whether a message of ONNX Runtime says that memory was not to be had."""
    return any(words in text for words in _NO_MEMORY)


def clean(text: str) -> str:
    """Return a message of ONNX Runtime in one line, without codes and source positions."""
    line = ' '.join(_SOURCE.sub('', _PREFIX.sub('', text)).split())
    return line if len(line) <= _MAX else f'{line[:_MAX]}...'
