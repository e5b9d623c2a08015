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

"""The command line as a process of its own, and a model that it builds in a moment."""

import json
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULE = 'c7_inference_ros.tools.compile_engine'


def command(*arguments):
    return [sys.executable, '-m', MODULE, *map(str, arguments)]


def environment(**others):
    return {**os.environ, 'PYTHONPATH': os.pathsep.join(filter(None, (
        str(ROOT), os.environ.get('PYTHONPATH')))), **others}


def run(*arguments, cwd=None, **others):
    """Run the command line to its end."""
    return subprocess.run(command(*arguments), capture_output=True, text=True, timeout=60,
                          check=False, cwd=cwd, env=environment(**others))


def only_json(done):
    """Return the one JSON object that standard output has to be."""
    value = json.loads(done.stdout)
    assert isinstance(value, dict) and value['exit_code'] == done.returncode
    return value


def tiny_model(path, seed=1, channels=8):
    """Write a convolution with a Relu; x is float32 [1, 3, 16, 16]."""
    onnx = pytest.importorskip('onnx', reason='onnx is not installed; run: make env')
    helper, kinds = onnx.helper, onnx.TensorProto
    weights = np.random.default_rng(seed).normal(size=(channels, 3, 3, 3)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node('Conv', ['x', 'w'], ['c'], name='/conv', pads=[1] * 4),
         helper.make_node('Relu', ['c'], ['y'], name='/relu')], 'graph',
        [helper.make_tensor_value_info('x', kinds.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info('y', kinds.FLOAT, [1, channels, 16, 16])],
        [onnx.numpy_helper.from_array(weights, 'w')])
    path.write_bytes(helper.make_model(graph, ir_version=8, opset_imports=[
        helper.make_opsetid('', 17)]).SerializeToString())
    return path


def key_pair(folder):
    """Write an Ed25519 key pair; return the paths of the private and the public key."""
    pytest.importorskip('cryptography', reason='cryptography is not installed here')
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    key = Ed25519PrivateKey.generate()
    private, public = folder / 'private.pem', folder / 'public.pem'
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public
