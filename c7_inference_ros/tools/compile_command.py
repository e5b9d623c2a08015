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

"""``compile_engine compile``: what the user asked for, built, and told."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import ExitStack
from dataclasses import replace
import json
import os
import signal
import threading
from typing import Any
from typing import Iterator
from typing import Mapping

from c7_inference_ros.engines.compiler import compile_engine
from c7_inference_ros.engines.compiler import CompileResult
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.engines.trust.manifest import manifest_bytes
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.tools.compile_request import closed_profile
from c7_inference_ros.tools.compile_request import make_request
from c7_inference_ros.tools.console import Console
from c7_inference_ros.tools.console import GOOD
from c7_inference_ros.tools.console import size_text
from c7_inference_ros.tools.console import table
from c7_inference_ros.tools.inspect_engine import manifest_report
from c7_inference_ros.tools.int8_calibration import int8_quantizer
from c7_inference_ros.tools.interruption import raise_if_interrupted

#: How long a builder may take to notice that it was interrupted.
_GRACE_S = 5.0
#: Names of settings by those in the configuration of a build, which messages name.
_SETTINGS = {'high_precision_nodes': 'keep_fp32', 'workspace_bytes': 'workspace',
             'is_tf32_allowed': 'tf32', 'timeout_s': 'timeout'}


def run_compile(values: Mapping[str, Any], console: Console) -> int:
    """
    Run the command.

    :param values: settings by name, as they were given.
    :returns: the exit code.
    :raises C7Error: everything that went wrong.
    """
    request = make_request(values)
    try:
        source = read_onnx_source(request.model)
    except EngineDeserializeError as error:
        raise ConfigurationError(str(error)) from error
    build = replace(request.build, profiles=closed_profile(request, source.inputs))
    console.say(f'{source.path} ({size_text(source.size_bytes)}, opset {source.opset})')
    with ExitStack() as stack:
        stack.enter_context(_ending_within(_GRACE_S, console))
        progress = stack.enter_context(console.progress('compiling'))

        def on_progress(part: str, done: int, total: int) -> None:
            raise_if_interrupted()
            progress.update(part, done, total)

        quantize = None
        if request.calibration is not None:
            quantize = stack.enter_context(int8_quantizer(
                replace(request.calibration, profiles=build.profiles), on_progress, console.say))
        try:
            result = compile_engine(
                source.path, build, source=source, private_key=request.sign_key,
                on_progress=on_progress, tell=console.say, quantize=quantize)
            raise_if_interrupted()
        except EngineBuildError as error:
            raise EngineBuildError(_as_settings(str(error))) from error
    _tell(result, console)
    return GOOD


def _as_settings(text: str) -> str:
    """Return a message about a build with the names that a user knows."""
    for field, setting in _SETTINGS.items():
        text = text.replace(field, setting)
    return text


def _tell(result: CompileResult, console: Console) -> None:
    manifest = result.manifest
    for warning in manifest.warnings:
        console.warn(warning)
    console.result(f'{result.status} in {result.seconds:.1f} s: {result.reason}')
    rows = [('size', size_text(manifest.engine_bytes)), *manifest_report(manifest)]
    for line in table([row for row in rows if row[0] not in ('settings', 'warning')]):
        console.result(f'  {line}')
    console.result(str(result.entry.path))
    console.result_json({
        'status': result.status, 'reason': result.reason, 'seconds': round(result.seconds, 3),
        'engine': str(result.entry.path), 'sha256': result.entry.sha256,
        'manifest': json.loads(manifest_bytes(manifest)), 'exit_code': GOOD})


@contextmanager
def _ending_within(grace_s: float, console: Console) -> Iterator[None]:
    """
    End the process when it was interrupted and hangs in a library that does not hear of it.

    Python tells its main thread of a signal between two of its own steps, and a builder may take
    minutes for one. The kernel tells the file that is set here at once. Ending at any moment is
    safe: nothing half-written ever has the name of an engine.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(reader, True)
    is_over = threading.Event()

    def watch() -> None:
        number = 0
        while number not in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            told = os.read(reader, 1)
            if not told:
                return
            number = told[0]
        if not is_over.wait(grace_s):
            exit_code = 128 + number
            console.fail([f'interrupted; the builder had not ended {grace_s:g} s later and was '
                          f'ended with the process, nothing half-written was left'], exit_code)
            os._exit(exit_code)

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watcher = threading.Thread(target=watch, name='interrupt_watch', daemon=True)
    watcher.start()
    try:
        yield
    finally:
        is_over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)  # ends the watcher where there was no signal
        watcher.join()
        os.close(reader)
