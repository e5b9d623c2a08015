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

"""ONNX parser of the TensorRT doubles; much garbage parses without an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any
import weakref

from trt_binding import Bound
from trt_binding import log
from trt_binding import setting
from trt_network import LAYERS
from trt_onnx import leading_message
from trt_onnx import load_graph


class ParserError(Bound):
    """Why a model was not read."""

    def _set_up(self, code: str, text: str, where: str) -> None:
        self._code, self._text, self._where = getattr(self._trt.ErrorCode, code), text, where

    def code(self) -> Any:
        """Return the kind."""
        return self._code

    def desc(self) -> str:
        """Return the text."""
        return self._text

    def func(self) -> str:
        """Return where in the parser."""
        return self._where

    def file(self) -> str:
        """Return the file of the parser."""
        return 'onnxProtoUtils.hpp'

    def line(self) -> int:
        """Return the line of the parser."""
        return 0

    def node(self) -> int:
        """Return the node; -1 for none."""
        return -1

    def node_name(self) -> str:
        """Return the name of the node."""
        return ''

    def node_operator(self) -> str:
        """Return the operator of the node."""
        return ''

    def __str__(self) -> str:
        """Show it."""
        return f'({self._where}): {self._code.name}: {self._text}'


class OnnxParser(Bound):
    """Reads ONNX into a network, once."""

    _is_constructible = True
    flags = setting('flags', 0)
    num_errors = property(lambda self: len(self._errors))

    def __init__(self, network: Any, logger: Any) -> None:
        """Take the network to fill."""
        if not isinstance(network, self._trt.INetworkDefinition) or not isinstance(
                logger, self._trt.ILogger):
            raise TypeError('__init__(): incompatible constructor arguments. The following '
                            'argument types are supported:\n    1. OnnxParser(network: '
                            'INetworkDefinition, logger: ILogger)')
        self._is_initialized = True
        if network._parsers:
            self._gpu.violated('a second parser was made for one network: the real library '
                               'crashes when they are freed')
        # The binding lets the network keep its parser, and not the other way round.
        network._parsers.append(self)
        self._network, self._logger = weakref.ref(network), logger
        self._errors: list[Any] = []
        self._has_model = False

    def _fail(self, code: str, text: str, where: str) -> bool:
        error = self._trt.ParserError._make(code, text, where)
        self._errors.append(error)
        log(self, self._trt.ILogger.Severity.ERROR, str(error))
        return False

    def parse(self, model: Any, path: str | None = None) -> bool:
        """Read a model from memory."""
        return self._read(bytes(memoryview(model).cast('B')),
                          None if path is None else Path(path).parent)

    def parse_from_file(self, model: str) -> bool:
        """Read a model from a file; with its external weights."""
        path = Path(model)
        if not path.is_file():
            return self._fail('INVALID_VALUE', 'Assertion failed: stat(onnxModelFile, &sb) == 0 '
                              '&& S_ISREG(sb.st_mode): Input file cannot be found, or is not a '
                              f'regular file: {model}', 'parseFromFile')
        return self._read(path.read_bytes(), path.parent)

    def _read(self, data: bytes, folder: Path | None) -> bool:
        if self._has_model:
            return self._fail('MODEL_DESERIALIZE_FAILED', 'Assertion failed: '
                              'model->ByteSizeLong() == 0: A model was previously parsed!',
                              'deserializeOnnxModel')
        network = self._network()
        if network is None:
            self._gpu.violated('a parser read into a network that was freed: keep a reference '
                               'to the network')
            return False
        message = leading_message(data)
        try:
            graph = load_graph(message, folder) if message else None
        except Exception as error:  # protobuf has an exception class of its own
            return self._fail('MODEL_DESERIALIZE_FAILED',
                              f'Failed to parse the ONNX model: {error}', 'deserializeOnnxModel')
        if graph is not None:
            self._has_model = True
            network._fill(graph)
        return True

    def get_error(self, index: int) -> Any:
        """Return an error."""
        return self._errors[index]

    def clear_errors(self) -> None:
        """Forget the errors."""
        self._errors.clear()

    def set_flag(self, flag: Any) -> None:
        """Set a flag of the parser."""
        self._flags = self.__dict__.get('_flags', 0) | 1 << int(flag)

    def clear_flag(self, flag: Any) -> None:
        """Clear a flag of the parser."""
        self._flags = self.__dict__.get('_flags', 0) & ~(1 << int(flag))

    def get_flag(self, flag: Any) -> bool:
        """Return a flag of the parser."""
        return bool(self.__dict__.get('_flags', 0) & 1 << int(flag))

    def supports_operator(self, op_name: str) -> bool:
        """Return whether the double has a layer for it."""
        return op_name in LAYERS
