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

"""Which model the node runs, and what is assumed of one that nobody described."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import re
from typing import Any
from typing import Mapping

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.vision.decoders.base import OutputSpec
from c7_inference_ros.vision.decoders.registry import select_decoder
from c7_inference_ros.vision.family import usual_preprocess
from c7_inference_ros.vision.family import usual_preprocess_source
from c7_inference_ros.vision.labels import load_labels
from c7_inference_ros.vision.labels import NUMBERS
from demo.clip import HEIGHT
from demo.clip import WIDTH
from demo.errors import DemoError
from demo.parameter_file import read_parameters
from demo.parameter_file import write_parameters
import numpy as np

#: Side of the network input of a model that leaves it open, as most are exported.
USUAL_SIDE = 640
_TYPES = {'float': np.float32, 'float16': np.float16, 'double': np.float64, 'int64': np.int64,
          'int32': np.int32, 'uint8': np.uint8, 'int8': np.int8, 'bool': np.bool_}
#: Families whose outputs name a class by its number and do not tell how many there are.
_COCO_BY_DEFAULT = ('detr', 'yolov10', 'efficient_nms')


@dataclass(frozen=True)
class Setup:
    """
    What the node is started with.

    :param params: parameter file.
    :param camera: name of the camera.
    :param model: name of the model.
    :param path: file of the model.
    :param notes: what was assumed, one line each.
    """

    params: Path
    camera: str
    model: str
    path: Path
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelFacts:
    """Inputs, outputs and metadata of a model file."""

    inputs: tuple[OutputSpec, ...]
    outputs: tuple[OutputSpec, ...]
    metadata: Mapping[str, str]


def shipped_setup(root: Path) -> Setup:
    """
    Return the setup of ``config/demo.yaml`` as it stands, for the user may have edited it.

    :raises DemoError: when it is not one camera and one model, or the model is not there.
    """
    params = root / 'config' / 'demo.yaml'
    values = read_parameters(params)
    camera, model = _only_names(values, params)
    path = root / values.get(f'models.{model}.path', '')
    if not path.is_file():
        raise DemoError(f'models.{model}.path in config/demo.yaml is {path}, and there is no such '
                        f'file; correct it, or restore it with: git checkout models',
                        exit_code=2)
    return Setup(params, camera, model, path)


def described_setup(root: Path, model_file: Path, labels: str, decoder: str,
                    params: Path) -> Setup:
    """
    Write parameters for any other model.

    What ``<model>.yaml`` beside the model says wins; what it leaves open, or all of it where
    there is none, is taken from the model file and from what its family usually wants.

    :param labels: file with class names, or empty.
    :param decoder: name of the decoder, or ``auto``.
    :param params: file to write.
    :raises DemoError: when the model cannot be used.
    """
    model_file = existing_model(model_file)
    beside = model_file.with_suffix('.yaml')
    base = read_parameters(root / 'config' / 'demo.yaml')
    camera, shipped = _only_names(base, root / 'config' / 'demo.yaml')
    own = read_parameters(beside) if beside.is_file() else {}
    name = _only_names(own, beside)[1] if 'model_names' in own else model_name(model_file)
    prefix = f'models.{name}.'
    values = {key: value for key, value in base.items()
              if not key.startswith(f'models.{shipped}.')}
    values.update(model_names=[name], autostart=False, **{f'{prefix}path': str(model_file)})
    notes: list[str] = []
    sources: list[str] = []
    if own:
        values.update(own)
        values['autostart'] = False
        values.setdefault(f'{prefix}path', str(model_file))
        camera = _only_names(values, beside)[0]
        notes.append(f'settings: {beside.name}, beside the model')
    else:
        found, notes = _assume(model_file, prefix, labels, decoder, root)
        values.update(found)
        family = found[f'{prefix}decoder']
        sources.append(f'The usual preprocessing of {family} is that of '
                       f'{usual_preprocess_source(family)}.')
    if own and labels:
        values[f'{prefix}labels'] = str(_labels_file(labels))
    head = [f'Parameters of {model_file.name} in the demo. To keep and correct them, copy this '
            f'file to {beside.name} beside the model: the demo then takes it as it is.', '',
            *notes, *sources]
    write_parameters(values, head, params)
    return Setup(params, camera, name, model_file, tuple(notes))


def model_name(path: Path) -> str:
    """Return a name for a model that can be part of a topic."""
    name = re.sub(r'[^a-z0-9]+', '_', path.stem.lower()).strip('_')
    return name if name[:1].isalpha() and name[0].isascii() else 'detector'


def read_model(path: Path) -> ModelFacts:
    """
    Return what a model file says of itself.

    :raises DemoError: when ONNX Runtime cannot load it.
    """
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        session = onnxruntime.InferenceSession(str(path), options,
                                               providers=['CPUExecutionProvider'])
    except Exception as error:  # onnxruntime has a class of its own for every kind of failure
        reason = ' '.join(str(error).split())[:200]
        raise DemoError(f'--model {path} cannot be loaded as ONNX ({reason}); is it a whole ONNX '
                        f'file?', exit_code=2) from error
    return ModelFacts(
        tuple(_spec(path, item) for item in session.get_inputs()),
        tuple(_spec(path, item) for item in session.get_outputs()),
        dict(session.get_modelmeta().custom_metadata_map))


def _assume(path: Path, prefix: str, labels: str, decoder_name: str, root: Path
            ) -> tuple[dict[str, Any], list[str]]:
    facts = read_model(path)
    width, height = _network_size(facts, path)
    try:
        decoder = select_decoder(decoder_name, facts.inputs, facts.outputs,
                                 (width or USUAL_SIDE, height or USUAL_SIDE), '--decoder')
    except ConfigurationError as error:
        raise DemoError(f'--model {path.name}: {error}', exit_code=2) from error
    values: dict[str, Any] = {f'{prefix}decoder': decoder.name}
    values.update({f'{prefix}preprocess.{key}': value
                   for key, value in usual_preprocess(decoder.name).items()})
    how = 'its outputs' if decoder_name == 'auto' else '--decoder'
    notes = [f'decoder: {decoder.name} ({how})',
             f'preprocessing: {_preprocess_text(usual_preprocess(decoder.name))}; assumed, it '
             f'is usual for {decoder.name}']
    if not width or not height:
        # A graph that resizes by itself takes the picture as it is.
        size = (WIDTH, HEIGHT) if decoder.name == 'tf_detection' else (USUAL_SIDE, USUAL_SIDE)
        values[f'{prefix}preprocess.width'] = width or size[0]
        values[f'{prefix}preprocess.height'] = height or size[1]
        notes.append(f'input: the model leaves its size open, {width or size[0]}x'
                     f'{height or size[1]} assumed')
    file, note = _find_labels(path, labels, facts.metadata, decoder, root)
    if file:
        values[f'{prefix}labels'] = str(file)
    try:
        load_labels(str(file or ''), facts.metadata, decoder.num_classes, '--labels')
    except ConfigurationError as error:
        raise DemoError(str(error), exit_code=2) from error
    return values, [*notes, f'class names: {note}']


def _find_labels(path: Path, labels: str, metadata: Mapping[str, str], decoder: Any, root: Path
                 ) -> tuple[Path | None, str]:
    """Return the file with the class names, None for those in the model, and where they are."""
    if labels:
        return _labels_file(labels), '--labels'
    beside = path.with_suffix('.txt')
    if beside.is_file():
        return beside, f'{beside.name}, beside the model'
    if load_labels('', metadata, None, '--labels').source != NUMBERS:
        return None, "the model's metadata"
    coco = root / 'config' / 'coco80.txt'
    if decoder.num_classes == 80:
        return coco, 'config/coco80.txt, assumed because the model has 80 classes'
    if decoder.num_classes is None and decoder.name in _COCO_BY_DEFAULT:
        return coco, 'config/coco80.txt, assumed: the model does not tell its classes'
    return None, 'none; numbers stand for them (--labels names a file)'


def _preprocess_text(values: Mapping[str, Any]) -> str:
    resize = values['resize']
    if resize == 'letterbox':
        resize += f' {values["anchor"]} pad {values["pad_value"]}'
    scale = '1/255' if abs(values['scale'] * 255 - 1) < 1e-9 else f'{values["scale"]:g}'
    text = f'{resize}, {values["color_order"]}, scale {scale}'
    if any(values['mean']) or any(value != 1 for value in values['std']):
        text += f', mean {list(values["mean"])}, std {list(values["std"])}'
    return text


def _network_size(facts: ModelFacts, path: Path) -> tuple[int, int]:
    """Return width and height of the image input, 0 where open."""
    images = [spec for spec in facts.inputs if len(spec.shape) == 4]
    if len(images) != 1:
        found = ', '.join(str(spec) for spec in facts.inputs) or 'none'
        raise DemoError(f'--model {path} has the inputs {found}; expected one image of four '
                        f'dimensions', exit_code=2)
    shape = images[0].shape
    height, width = shape[1:3] if shape[3] in (1, 3) and shape[1] not in (1, 3) else shape[2:]
    return max(width, 0), max(height, 0)


def _spec(path: Path, item: Any) -> OutputSpec:
    kind = item.type.partition('(')[2].rstrip(')')
    if kind not in _TYPES or not item.type.startswith('tensor('):
        raise DemoError(f'--model {path}: {item.name} is {item.type}, which no detector of the '
                        f'package has', exit_code=2)
    return OutputSpec(item.name, tuple(size if isinstance(size, int) else -1
                                       for size in item.shape), np.dtype(_TYPES[kind]))


def _only_names(values: Mapping[str, Any], path: Path) -> tuple[str, str]:
    names = []
    for key, default in (('camera_names', 'camera'), ('model_names', 'detector')):
        found = values.get(key, [default])
        if not isinstance(found, list) or len(found) != 1:
            raise DemoError(f'{key} in {path} is {found!r}; the demo plays one clip into one '
                            f'model, expected one name', exit_code=2)
        names.append(str(found[0]))
    return names[0], names[1]


def existing_model(path: Path) -> Path:
    """
    Return the whole path of a model file.

    :raises DemoError: when there is no such file.
    """
    path = path.expanduser()
    if path.is_dir():
        raise DemoError(f'--model {path} is a folder, expected an ONNX file', exit_code=2)
    if not path.is_file():
        near = sorted(item.name for item in path.parent.glob('*.onnx')) \
            if path.parent.is_dir() else []
        hint = f'; {path.parent} has {", ".join(near[:4])}' if near else ''
        raise DemoError(f'--model {path}: there is no such file{hint}; correct the path',
                        exit_code=2)
    return path.resolve()


def _labels_file(labels: str) -> Path:
    path = Path(labels).expanduser()
    if not path.is_file():
        raise DemoError(f'--labels {labels}: there is no such file, expected one class name a '
                        f'line', exit_code=2)
    return path.resolve()
