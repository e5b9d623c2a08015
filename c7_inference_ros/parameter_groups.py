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

"""Groups of parameters that belong together; :mod:`c7_inference_ros.config` puts them in place."""

from __future__ import annotations

from dataclasses import dataclass

from c7_inference_ros.parameter_spec import Mutability
from c7_inference_ros.parameter_spec import parameter

CONFIGURE, DYNAMIC = Mutability.CONFIGURE, Mutability.DYNAMIC
GIB = 1 << 30


@dataclass(frozen=True)
class PreprocessConfig:
    """What a model wants done to an image; network value = (pixel * scale - mean) / std."""

    resize: str = parameter(
        'letterbox', 'Keep the aspect ratio and pad, or stretch to the input size.', CONFIGURE,
        choices=('letterbox', 'stretch'))
    anchor: str = parameter(
        'center', 'Where the letterboxed picture lies in the input.', CONFIGURE,
        choices=('center', 'top_left'))
    interpolation: str = parameter(
        'linear', 'How pixels are interpolated: area averages when shrinking, costs more, and'
        ' suits models that suffer from aliasing.', CONFIGURE, choices=('linear', 'area'))
    pad_value: int = parameter(
        114, 'Value of the padding, before scale, mean and std.', CONFIGURE,
        minimum=0, maximum=255)
    color_order: str = parameter(
        'rgb', 'Order of the colour channels that the model was trained with.', CONFIGURE,
        choices=('rgb', 'bgr'))
    scale: float = parameter(
        0.00392156862745098, 'Factor of a pixel value; 1/255 by default.', CONFIGURE,
        minimum=0.0)
    mean: tuple[float, ...] = parameter(
        (0.0, 0.0, 0.0), "Subtracted after scaling, in the model's colour order.", CONFIGURE,
        length=3)
    std: tuple[float, ...] = parameter(
        (1.0, 1.0, 1.0), "Divides after subtracting, in the model's colour order.", CONFIGURE,
        minimum=1e-6, length=3)
    layout: str = parameter(
        'auto', 'Layout of the input tensor; auto reads it from the shape.', CONFIGURE,
        choices=('auto', 'nchw', 'nhwc'))
    dtype: str = parameter(
        'auto', 'Element type of the input tensor; auto takes what the model says.', CONFIGURE,
        choices=('auto', 'float32', 'float16', 'uint8'))
    width: int = parameter(
        0, 'Width of the network input where the model leaves it open; 0 takes what the model'
        ' says.', CONFIGURE, unit='px', minimum=0, maximum=16384)
    height: int = parameter(
        0, 'Height of the network input where the model leaves it open; 0 takes what the model'
        ' says.', CONFIGURE, unit='px', minimum=0, maximum=16384)


@dataclass(frozen=True)
class MemoryConfig:
    """What the models may take."""

    device_budget_bytes: int = parameter(
        4 * GIB, 'Device memory that all models together may take.', CONFIGURE, unit='bytes',
        minimum=0)
    host_budget_bytes: int = parameter(
        3 * GIB // 2, 'Host memory that the models may take: resident growth from before they'
        ' were loaded.', CONFIGURE, unit='bytes', minimum=0)
    free_floor_bytes: int = parameter(
        256 << 20, 'Free memory that must be left on the machine when activating.', CONFIGURE,
        unit='bytes', minimum=0)


@dataclass(frozen=True)
class EngineConfig:
    """Which engines are trusted, and how they are run."""

    directory: str = parameter(
        '', 'Folder of the engines, and of the engine cache of ONNX Runtime; empty looks for'
        ' engines beside the model, and keeps no such cache.', CONFIGURE)
    deployment_list: str = parameter(
        '', 'File with the SHA-256 of every engine that may be loaded (as sha256sum writes it);'
        ' empty asks for none.', CONFIGURE)
    public_key: str = parameter(
        '', 'Ed25519 public key (PEM) that signed the manifests of the engines; empty asks for no'
        ' signature.', CONFIGURE)
    max_accuracy_drop: float = parameter(
        1.0, 'An engine whose manifest records a larger loss of accuracy than this against'
        ' float32 is refused.', CONFIGURE, minimum=0.0, maximum=1.0)
    package: str = parameter(
        'auto', 'Which TensorRT runs engines; auto takes what the engine was built with.',
        CONFIGURE, choices=('auto', 'tensorrt', 'tensorrt_rtx'))
    cuda_graph: bool = parameter(
        True, 'Replay a captured CUDA graph where the engine allows it.', CONFIGURE)
    device: int = parameter(
        0, 'Number of the GPU.', CONFIGURE, minimum=0, maximum=63)


@dataclass(frozen=True)
class DiagnosticsConfig:
    """When /diagnostics warns."""

    max_allowed_processing_time: float = parameter(
        0.2, 'Processing (taken from the slot to published) that is slower is a warning.',
        DYNAMIC, unit='s', minimum=0.0, maximum=60.0)
    max_acceptable_consecutive_delay: float = parameter(
        1.0, 'Processing that stays slower for this long is an error.', DYNAMIC, unit='s',
        minimum=0.0, maximum=3600.0)
    image_timeout: float = parameter(
        2.0, 'A camera that was silent for longer while active is an error.', DYNAMIC, unit='s',
        minimum=0.0, maximum=3600.0)


@dataclass(frozen=True)
class ThermalConfig:
    """How the machine's heat is watched, and what is done about it."""

    poll_rate: float = parameter(
        1.0, 'How often sensors are read.', CONFIGURE, unit='Hz', minimum=0.1, maximum=50.0)
    sysfs_root: str = parameter(
        '/sys', 'Where sysfs is mounted; a recorded tree replays a hot board.', CONFIGURE)
    zone_topics: tuple[str, ...] = parameter(
        ('',), 'Names of zones that are published as sensor_msgs/Temperature on ~/thermal/<zone>;'
        ' * is every zone, an empty string is ignored.', CONFIGURE)
    allow_throttled_activation: bool = parameter(
        True, 'Activate, with a warning, while the machine slows itself down because of heat;'
        ' false refuses.', DYNAMIC)
    policy: str = parameter(
        'observe', 'observe only reports heat; shed lowers the rate, then skips models by'
        ' priority, then pauses intake, and goes back in the same steps.', DYNAMIC,
        choices=('observe', 'shed'))
    shed_margin: float = parameter(
        5.0, 'Load is shed when a zone is this close to the temperature at which the hardware'
        ' slows itself down.', DYNAMIC, unit='K', minimum=0.0, maximum=100.0)
    recover_margin: float = parameter(
        10.0, 'Load comes back when every zone is further than this from that temperature;'
        ' larger than shed_margin.', DYNAMIC, unit='K', minimum=0.1, maximum=120.0)
    dwell: float = parameter(
        10.0, 'Shortest time between two steps, in either direction.', DYNAMIC, unit='s',
        minimum=0.1, maximum=3600.0)
    shed_rates: tuple[float, ...] = parameter(
        (10.0, 5.0), 'Most images a second of each camera in the first steps, falling; 0 is'
        ' ignored.', DYNAMIC, unit='Hz', minimum=0.0, maximum=1000.0)
    shed_limit: str = parameter(
        'pause', 'How far shedding may go: rate lowers the rate only, models also skips models'
        ' but those of the highest priority, pause also pauses intake.', DYNAMIC,
        choices=('rate', 'models', 'pause'))


def shedding_problems(thermal: ThermalConfig) -> list[str]:
    """Return what does not fit together in how load is shed, one line each."""
    problems = []
    if thermal.recover_margin <= thermal.shed_margin:
        problems.append(
            f'thermal.recover_margin is {thermal.recover_margin:g} K, expected more than'
            f' thermal.shed_margin, {thermal.shed_margin:g} K; without a gap between them the load'
            f' would swing')
    rates = [rate for rate in thermal.shed_rates if rate > 0.0]
    if any(later >= earlier for earlier, later in zip(rates, rates[1:])):
        problems.append(
            f'thermal.shed_rates is {list(thermal.shed_rates)}, expected rates that fall from step'
            f' to step')
    return problems
