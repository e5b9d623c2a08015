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

"""The engine without the pipeline, and without the runtime: what stages are held against."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from dataclasses import replace
from typing import Any
from typing import Callable

from c7_inference_ros.config import NodeConfig
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.errors import C7Error
from c7_inference_ros.pipeline.detection_pipeline import DetectionPipeline
from c7_inference_ros.runtime.base import InferenceRuntime
from c7_inference_ros.runtime.base import TensorMap
from c7_inference_ros.runtime.ort.handle import OnnxHandle
from c7_inference_ros.runtime.trt.handle import TensorrtHandle
from c7_inference_ros.runtime.trt.raw_loop import raw_loop

#: Back-to-back inferences of one sample of a loop that waits once for all of them.
BACK_TO_BACK = 4
RUNTIME = 'runtime.infer'


@dataclass(frozen=True)
class Loop:
    """
    One way to run a model on tensors that are ready.

    :param name: short, for tables.
    :param description: what it contains, one sentence.
    :param call: runs it.
    :param inferences: how many one call makes.
    """

    name: str
    description: str
    call: Callable[[TensorMap], object]
    inferences: int = 1


@dataclass(frozen=True)
class Loops:
    """
    The loops of one model.

    :param loops: the closest to the engine first; the pipeline is held against it.
    :param problems: loops that are not measured, and why, one sentence each.
    """

    loops: tuple[Loop, ...]
    problems: tuple[str, ...] = ()


def loops_of(runtime: InferenceRuntime, pipeline: DetectionPipeline, config: NodeConfig,
             undo: ExitStack) -> Loops:
    """
    Return the loops of a loaded model; called by the thread that owns the runtime.

    :param config: of the node.
    :param undo: gives back what they take.
    """
    handle: Any = pipeline.handle
    own = Loop(RUNTIME, 'infer of the runtime on ready tensors: with its checks and copies',
               lambda feed: runtime.infer(handle, feed))
    if isinstance(handle, OnnxHandle):
        names = handle.output_names
        return Loops((Loop('session.run', 'ONNX Runtime alone, on ready tensors',
                           lambda feed: handle.session.run(names, dict(feed))), own))
    if isinstance(handle, TensorrtHandle):
        return _tensorrt(handle, pipeline, config, own, undo)
    return Loops((own,))


def _tensorrt(handle: TensorrtHandle, pipeline: DetectionPipeline, config: NodeConfig, own: Loop,
              undo: ExitStack) -> Loops:
    path, feed = handle.path, pipeline.feed
    try:
        # The shapes of one image, not the largest that the engine could take.
        outputs = {name: array.shape for name, array in pipeline.infer().items()}
        raw = undo.enter_context(raw_loop(
            parse_engine_name(path.name).package, path.read_bytes(),
            [replace(one, max_shape=feed[one.name].shape) for one in handle.inputs],
            [replace(one, max_shape=outputs[one.name]) for one in handle.outputs],
            config.engines.device, feed))
    except (C7Error, OSError) as error:
        return Loops((own,), (f'the engine cannot be run beside the runtime: {error}',))
    # On the tensors of one picture: to copy others in is what the loop does without.
    return Loops((
        Loop('raw engine', 'TensorRT alone: copy in, enqueue, copy out, wait',
             lambda feed: raw.run()),
        Loop('enqueue', f'TensorRT alone: {BACK_TO_BACK} enqueues back to back, without copies',
             lambda feed: raw.enqueue(BACK_TO_BACK), BACK_TO_BACK), own))
