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

"""Making one ONNX Runtime session on the best provider that loads, and saying what did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import Sequence

from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import OutOfMemoryError
from c7_inference_ros.runtime.ort import providers as onnx_providers
from c7_inference_ros.runtime.ort.errors import clean
from c7_inference_ros.runtime.ort.errors import is_out_of_memory
from c7_inference_ros.runtime.ort.errors import load_problem
from c7_inference_ros.runtime.ort.model import OnnxModel
from c7_inference_ros.runtime.ort.providers import ProviderSettings

_ERROR, _FATAL = 3, 4


@dataclass(frozen=True)
class MadeSession:
    """
    A session, and what runs in it.

    :param session: of ONNX Runtime.
    :param providers: what it reports, in order.
    :param missing: one sentence for each wanted provider that did not load.
    """

    session: Any
    providers: tuple[str, ...]
    missing: tuple[str, ...]


class SessionMaker:
    """
    Makes the sessions of one runtime.

    :param ort: the module.
    :param wanted: providers as the user named them.
    :param chosen: those of them that this ONNX Runtime has.
    :param allow_cpu_fallback: whether the CPU may stand in.
    :param threads: of one inference on a CPU.
    """

    def __init__(self, ort: Any, wanted: Sequence[str], chosen: Sequence[str],
                 allow_cpu_fallback: bool, threads: int) -> None:
        """Keep what every session is made of."""
        self._ort = ort
        self._wanted = tuple(wanted)
        self._chosen = tuple(chosen)
        self._allow_cpu_fallback = allow_cpu_fallback
        self._threads = threads

    def make(self, model: OnnxModel, settings: ProviderSettings) -> MadeSession:
        """
        Create a session on the best provider that loads.

        :raises EngineDeserializeError: no provider takes the model.
        :raises OutOfMemoryError: memory ran out.
        :raises RuntimeNotAvailableError: only the CPU would run it, which is not allowed.
        """
        failures: list[str] = []
        chosen = list(self._chosen)
        while True:
            try:
                session = self._create(model, chosen, settings)
                break
            except Exception as error:
                # The model or the provider: only the next provider tells them apart.
                text = str(error)
                if is_out_of_memory(text) or isinstance(error, MemoryError):
                    raise OutOfMemoryError(
                        f'{model.path} could not be loaded, memory ran out: {clean(text)}; free '
                        f'memory on the machine') from error
                if chosen[0] == onnx_providers.CPU:
                    raise EngineDeserializeError(load_problem(
                        model.path, f'ONNX Runtime {self._ort.__version__}', text)) from error
                failures.append(onnx_providers.failure(chosen[0], clean(text)))
                chosen = chosen[1:] or [onnx_providers.CPU]
        loaded = tuple(session.get_providers())
        missing = onnx_providers.check_loaded(self._chosen, loaded, self._wanted, failures,
                                              self._allow_cpu_fallback)
        return MadeSession(session, loaded, missing)

    def _create(self, model: OnnxModel, chosen: Sequence[str],
                settings: ProviderSettings) -> Any:
        options = self._ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        # Spinning threads wait busily: yolox_nano at 15 Hz took 46 ms of CPU time a frame instead
        # of 17, to save 3 ms on an idle machine; on a busy one inference was slower with them.
        options.add_session_config_entry('session.intra_op.allow_spinning', '0')
        # Why a provider's library does not load is only in the log. All else is raised as well.
        is_cpu = chosen[0] == onnx_providers.CPU
        options.log_severity_level = _FATAL if is_cpu else _ERROR
        if model.external_bytes:
            options.add_session_config_entry(
                'session.model_external_initializers_file_folder_path',
                str(model.path.parent.resolve()))
        providers = [(name, onnx_providers.provider_options(name, settings)) for name in chosen]
        # enable_fallback would print to standard output and go on without the provider.
        session = self._ort.InferenceSession(model.data, options, providers=providers,
                                             enable_fallback=0)
        # ONNX Runtime keeps the file for its fall-back, which is off.
        session._model_bytes = None
        session.get_modelmeta().custom_metadata_map  # raises where text is not UTF-8
        return session
