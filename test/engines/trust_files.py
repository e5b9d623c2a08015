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

"""Engines as files, for tests of what trusts them: synthetic plans and real ones."""

from dataclasses import replace
import functools
import hashlib
from pathlib import Path
import random
import struct

from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.trust.engine_folder import EngineFolder
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.engines.types import ANY_SM
from c7_inference_ros.engines.types import EngineManifest
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.model_files.tensor_spec import TensorSpec
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
#: A small network, and the one that is always here.
REAL_MODELS = (ROOT.parent / 'shared/models/yolox_nano.onnx', ROOT / 'models/person_ssdlite.onnx')
ORIN = HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'Jetson Orin Nano 8GB')
RTX = HostTuple(ANY_SM, 'x86', 'tensorrt_rtx', '1.7.1.116', 'NVIDIA RTX A2000')
FP16 = PrecisionMode.FP16

#: The first 64 bytes of yolox_nano, built by both versions on a machine without a GPU.
RTX_1_7 = bytes.fromhex(
    '767472740000000002000000000000008c0c4e000000000001070174767472747e000000000000000000000000000'
    '0000000000000000000003b370000000000')
RTX_1_4 = bytes.fromhex(
    '76747274000000000200000000000000f44f6200000000000104004c767472743e000000000000000000000000000'
    '0003a2f000000000000003b370000000000')


def tensorrt_plan(seed=0, size=3000, version=(10, 3, 0, 30)):
    """Return bytes that begin as a plan of TensorRT."""
    head = b'ftrt' + bytes(20) + bytes(version) + bytes(36)
    return head + random.Random(seed).randbytes(size - len(head))


def rtx_plan(seed=0, size=3000, header=RTX_1_7):
    """Return bytes that begin as a plan of TensorRT-RTX of this length."""
    head = header[:16] + struct.pack('<Q', size) + header[24:]
    return head + random.Random(seed).randbytes(size - len(head))


def plan_for(host, seed=0):
    """Return a plan that fits a host."""
    if host.package == 'tensorrt_rtx':
        return rtx_plan(seed)
    numbers = [int(part) for part in host.version.split('.')]
    return tensorrt_plan(seed, version=(numbers + [0, 0, 0])[:4])


def manifest_for(host=ORIN, precision=FP16, **changes):
    """Return a manifest with something in every field, for an engine that is not published yet."""
    full = EngineManifest(
        engine_sha256='', engine_bytes=0, onnx_sha256=hashlib.sha256(b'onnx').hexdigest(),
        build_key=hashlib.sha256(b'key').hexdigest(), host=host, precision=precision,
        inputs=(TensorSpec('images', np.dtype('uint8'), (-1, 3, -1, 416), (4, 3, 416, 416)),),
        outputs=(TensorSpec('output', np.dtype('float32'), (-1, 3549, 85), (4, 3549, 85)),
                 TensorSpec('count', np.dtype('int64'), ())),
        profiles=(OptimizationProfile('day', {
            'images': ((1, 3, 32, 416), (2, 3, 416, 416), (4, 3, 416, 416))}),
            OptimizationProfile('night', {})),
        tensor_types={'float16': 90, 'float32': 3}, weights_bytes=1234,
        context_bytes=(5678, None), io_bytes=91011, hardware_compatibility='none',
        branch='direct', settings={'optimization_level': 3, 'tf32': False, 'layers': ['a', 'b']},
        metadata={'author': 'Zoë "Q"\n\\', '\ud800': '日本'},
        processing={'decoder': 'yolox', 'preprocess': {'pad': 114.5}, 'labels': ['person']},
        calibration={'images': 17, 'sources': [None, {'a': 1e-300}]},
        accuracy=AccuracyCheck('mAP50', 0.5, 0.48, 0.03, 17, hashlib.sha256(b'set').hexdigest()),
        warnings=('first', 'second'), build_seconds=1.25, built_at='2026-11-24T05:00:00Z')
    return replace(full, **changes)


def publish(folder, plan=None, model='yolox_nano', host=ORIN, precision=FP16, private_key=None,
            **changes):
    """Publish an engine in a folder; return its path."""
    return EngineFolder(folder).publish(
        engine_name(model, host, precision), plan_for(host) if plan is None else plan,
        manifest_for(host, precision, **changes), private_key)


def beside(path, suffix):
    """Return the path of a part of an engine."""
    return path.with_name(path.name + suffix)


def make_keys(folder, name='fleet'):
    """Make a pair of Ed25519 keys as PEM files; return (private, public)."""
    ed25519 = pytest.importorskip(
        'cryptography.hazmat.primitives.asymmetric.ed25519',
        reason='cryptography is not installed here')
    return save_keys(ed25519.Ed25519PrivateKey.generate(), folder, name)


def save_keys(key, folder, name):
    """Write both halves of a key as PEM files; return (private, public)."""
    from cryptography.hazmat.primitives import serialization
    private, public = folder / f'{name}_private.pem', folder / f'{name}_public.pem'
    private.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@functools.lru_cache(maxsize=None)
def real_engine():
    """Build a detector with the TensorRT-RTX that is installed; return (plan, version)."""
    trt = pytest.importorskip('tensorrt_rtx', reason='TensorRT-RTX is not installed here')
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, logger)
    assert parser.parse_from_file(str(next(path for path in REAL_MODELS if path.is_file())))
    plan = builder.build_serialized_network(network, builder.create_builder_config())
    return bytes(memoryview(plan).cast('B')), trt.__version__


def real_host():
    """Return the host tuple of :func:`real_engine`."""
    return HostTuple(ANY_SM, 'x86', 'tensorrt_rtx', real_engine()[1])
