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

"""Which engine cache a session of ONNX Runtime may use, and why it has none."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import Callable
from typing import Iterator
from typing import Mapping

from c7_inference_ros.engines.host import probe_facts
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import InferenceError
from c7_inference_ros.errors import RuntimeNotAvailableError
from c7_inference_ros.runtime.cuda.query import tensorrt_versions
from c7_inference_ros.runtime.ort import providers as onnx_providers
from c7_inference_ros.runtime.ort.engine_cache import cache_key
from c7_inference_ros.runtime.ort.engine_cache import cache_problem
from c7_inference_ros.runtime.ort.engine_cache import CacheFolder
from c7_inference_ros.runtime.ort.engine_cache import OrtEngineCache
from c7_inference_ros.runtime.ort.model import OnnxModel
from c7_inference_ros.runtime.ort.providers import ProviderSettings
from c7_inference_ros.runtime.ort.session import MadeSession

_NO_FOLDER = ('engines.directory is empty, so that there is no folder for them; give one to keep '
              'them between starts')


class SessionCache:
    """
    Puts the engine cache of the TensorRT provider around the making of a session.

    :param directory: the folder of our own engines; None keeps no cache.
    :param read_versions: names everything that an engine depends on besides the model; raises
        OSError where that cannot be found out.
    :param refusal: why there may be no cache although there is a folder, or an empty string.
    """

    def __init__(self, directory: Path | None, read_versions: Callable[[], Mapping[str, str]],
                 refusal: str = '') -> None:
        """Look at nothing yet."""
        self._cache = None if directory is None else OrtEngineCache(directory)
        self._read_versions = read_versions
        self._refusal = refusal or ('' if directory is not None else _NO_FOLDER)
        #: Why engines are not kept; of interest where the provider runs.
        self.notes: list[str] = []
        #: What was wrong with a cache.
        self.alarms: list[str] = []

    @contextmanager
    def session(self, model: OnnxModel, settings: ProviderSettings,
                make: Callable[[ProviderSettings], MadeSession]) -> Iterator[MadeSession]:
        """
        Give a session whose provider saw verified engines only; record what it built.

        The block warms the session up: engines are built by the first inference at the latest.
        """
        with self._folder(model, settings) as folder:
            made, folder = self._make(folder, settings, make)
            try:
                yield made
            except (EngineDeserializeError, InferenceError) as error:
                # Whole, and still not fit to run: the next attempt does without.
                if folder and folder.is_filled:
                    self._set_aside(folder, str(error))
                raise
            if folder:
                self._record(folder)

    def _make(self, folder: CacheFolder | None, settings: ProviderSettings,
              make: Callable[[ProviderSettings], MadeSession]
              ) -> tuple[MadeSession, CacheFolder | None]:
        """Make a session; once more without the engines when the provider does not take them."""
        with_cache = replace(settings, cache=folder.path if folder else None)
        if folder is None or not folder.is_filled:
            return make(with_cache), folder
        try:
            made = make(with_cache)
        except RuntimeNotAvailableError as error:
            reason = str(error)
        else:
            if onnx_providers.TENSORRT in made.providers:
                return made, folder
            reason = next((text for text in made.missing if onnx_providers.TENSORRT in text), '')
        anew = self._set_aside(folder, reason or 'the provider did not load with it')
        return make(replace(settings, cache=anew.path if anew else None)), anew

    @contextmanager
    def _folder(self, model: OnnxModel, settings: ProviderSettings
                ) -> Iterator[CacheFolder | None]:
        if self._cache is None or self._refusal:
            self._say(f'the TensorRT provider builds its engines anew at every start: '
                      f'{self._refusal}')
            yield None
            return
        if model.external_bytes:
            self._say(f'the engines of {model.path.name} are built anew at every start: its '
                      f'weights lie in other files, which no SHA-256 covers')
            yield None
            return
        try:
            versions = self._read_versions()
        except OSError as error:
            self._say(f'the engines of the TensorRT provider are not kept: {error}')
            yield None
            return
        options = onnx_providers.provider_options(onnx_providers.TENSORRT, settings)
        entered = self._cache.folder(cache_key(model.sha256, versions, options))
        try:
            folder = entered.__enter__()
        except OSError as error:
            self._warn(cache_problem(self._cache.root, error))
            yield None
            return
        except EngineBuildError as error:
            self._warn(f'the engines of the TensorRT provider are not kept: {error}')
            yield None
            return
        try:
            self._warn(folder.note)
            yield folder
        finally:
            entered.__exit__(None, None, None)

    def _set_aside(self, folder: CacheFolder, reason: str) -> CacheFolder | None:
        assert self._cache is not None
        try:
            anew = self._cache.set_aside(folder, reason)
        except OSError as error:
            self._warn(cache_problem(self._cache.root, error))
            return None
        self._warn(anew.note)
        return anew

    def _record(self, folder: CacheFolder) -> None:
        assert self._cache is not None
        try:
            self._cache.record(folder)
        except OSError as error:
            self._warn(cache_problem(self._cache.root, error))

    def _say(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _warn(self, alarm: str) -> None:
        if alarm and alarm not in self.alarms:
            self.alarms.append(alarm)


def versions_of(ort: Any, device: int) -> Mapping[str, str]:
    """
    Return everything that an engine of the TensorRT provider depends on besides the model.

    :param ort: the module.
    :param device: number of the GPU.
    :raises OSError: the GPU or the version of TensorRT cannot be found out.
    """
    libraries = tensorrt_versions()
    if not libraries:
        raise OSError('the version of TensorRT cannot be found out (no libnvinfer on the library '
                      'path); add its folder to LD_LIBRARY_PATH')
    facts = probe_facts(device=device)
    if facts.sm is None or facts.platform is None:
        raise OSError('; '.join(facts.problems[name] for name in ('sm', 'platform')
                                if name in facts.problems))
    return {'onnxruntime': ort.__version__, 'sm': facts.sm, 'platform': facts.platform,
            'device': facts.device_name, **libraries}
