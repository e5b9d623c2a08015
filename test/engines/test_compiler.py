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

"""Compiling with the real builder: built, reused, built again for a named reason, or refused."""

from dataclasses import replace
import importlib.util
import os
import shutil
import stat

from c7_inference_ros.engines.build_key import key_of
from c7_inference_ros.engines.build_key import PARTS
from c7_inference_ros.engines.building import buildable_model
from c7_inference_ros.engines.compiler import compile_engine
from c7_inference_ros.engines.compiler import host_of
from c7_inference_ros.engines.compiler import Quantization
from c7_inference_ros.engines.filename import parse_engine_name
from c7_inference_ros.engines.onnx_source import read_onnx_source
from c7_inference_ros.engines.tensorrt_api import load_tensorrt
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.engines.types import BuildConfig
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineBuildError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
import engine_models
import numpy as np
import pytest

pytestmark = pytest.mark.builder
pytest.importorskip('tensorrt_rtx', reason='tensorrt_rtx is not installed here: no builder')
builds_int8 = pytest.mark.skipif(
    load_tensorrt('tensorrt_rtx').numbers < (1, 7),
    reason='TensorRT-RTX before 1.7 builds no quantised convolution')

BATCH = OptimizationProfile('batch', {'x': ((1, 3, 16, 16), (2, 3, 16, 16), (4, 3, 16, 16))})


@pytest.fixture
def model(tmp_path):
    return engine_models.small_model(tmp_path / 'Small-Net.v2.onnx', batch='N',
                                     metadata={'names': '["car"]'})


@pytest.fixture
def config(tmp_path):
    return BuildConfig(precision=PrecisionMode.FP32, profiles=(BATCH,), package='tensorrt_rtx',
                       output_dir=tmp_path / 'engines',
                       processing={'decoder': 'yolox', 'preprocess': {'scale': 1.0}})


@pytest.fixture
def host():
    version = load_tensorrt('tensorrt_rtx').version
    return HostTuple('any', 'x86', 'tensorrt_rtx', version)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_built_then_reused(model, config, host):
    told, steps = [], []
    built = compile_engine(model, config, host=host, tell=told.append,
                           on_progress=lambda *step: steps.append(step))
    assert (built.status, built.reason) == ('BUILT', 'there is no engine of this model yet')
    path = built.entry.path
    assert path.name == f'small_net_v2__smany_jpx86_rtx{host.version}_fp32.engine'
    assert path.parent == config.output_dir
    assert told[0].startswith('branch direct, because') and path.name in told[1]
    assert any(done == total for _, done, total in steps)
    # Nothing else lies there, and all of it is for its owner alone.
    assert set(files(path.parent)) == {path.name, f'{path.name}.json', f'{path.name}.sha256'}
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir()} == {0o600}

    before = files(path.parent)
    again = compile_engine(model, config, host=host)
    assert (again.status, again.reason) == ('REUSED', 'nothing that it depends on has changed')
    assert again.entry == built.entry and again.manifest == built.manifest
    assert files(path.parent) == before
    assert again.seconds < 1.0


def test_a_folder_that_others_can_write_is_said(model, config, host):
    config.output_dir.mkdir()
    config.output_dir.chmod(0o777)
    told = []
    assert compile_engine(model, config, host=host, tell=told.append).status == 'BUILT'
    warning, = (line for line in told if line.startswith('warning: '))
    assert str(config.output_dir) in warning and 'others' in warning


def test_the_manifest_says_everything(model, config, host):
    manifest = compile_engine(model, config, host=host).manifest
    path = next(config.output_dir.glob('*.engine'))
    trusted = EngineGate(host).validate(path, PrecisionMode.FP32)
    assert trusted.manifest == manifest
    assert manifest.engine_sha256 == trusted.sha256
    assert manifest.engine_bytes == len(trusted.data)
    assert manifest.onnx_sha256 == read_onnx_source(model).sha256
    assert manifest.build_key == key_of(manifest.settings[PARTS])
    assert manifest.host == host and manifest.precision is PrecisionMode.FP32
    image, = manifest.inputs
    answer, = manifest.outputs
    assert (image.name, image.dtype, image.shape, image.max_shape) == (
        'x', np.float32, (-1, 3, 16, 16), (4, 3, 16, 16))
    assert (answer.name, answer.dtype, answer.max_shape) == ('y', np.float32, (4, 8, 16, 16))
    assert manifest.io_bytes == 4 * 4 * 16 * 16 * (3 + 8)
    assert manifest.profiles == (BATCH,) and manifest.tensor_types['float32'] >= 3
    # Only known where it is loaded.
    assert manifest.weights_bytes is None and manifest.context_bytes == (None,)
    assert manifest.branch == 'direct' and manifest.settings['workspace_bytes'] == 1 << 30
    assert manifest.metadata == {'names': '["car"]'}
    assert manifest.processing == {'decoder': 'yolox', 'preprocess': {'scale': 1.0}}
    assert manifest.calibration is None and manifest.accuracy is None
    assert manifest.model == 'small_net_v2' and manifest.build_seconds > 0.0
    assert manifest.built_at.endswith('Z') and manifest.hardware_compatibility == 'none'


@pytest.mark.parametrize(('change', 'said'), [
    ({'profiles': (OptimizationProfile('batch', {'x': ((1, 3, 16, 16),) * 3}),)},
     'profiles changed'),
    ({'workspace_bytes': 1 << 28}, 'workspace changed from 1073741824 to 268435456'),
    ({'is_tf32_allowed': True}, 'TF32 changed from false to true'),
    ({'optimization_level': 1}, 'optimization level changed from 3 to 1'),
    ({'branch': 'polygraphy'}, 'branch changed from direct to polygraphy'),
    ({'processing': {'decoder': 'yolov8', 'preprocess': {'scale': 1.0}}},
     'processing changed (decoder)')])
def test_a_changed_setting_builds_again_and_is_named(model, config, host, change, said):
    # Not by importing it: it reads for which package it is when it is imported.
    if 'branch' in change and importlib.util.find_spec('polygraphy') is None:
        pytest.skip('polygraphy is not installed here')
    first = compile_engine(model, config, host=host)
    told = []
    second = compile_engine(model, replace(config, **change), host=host, tell=told.append)
    assert (second.status, second.reason) == ('BUILT', said)
    assert second.entry.path == first.entry.path and told[-1].endswith(said)
    third = compile_engine(model, replace(config, **change), host=host)
    assert third.status == 'REUSED' and third.entry == second.entry


def test_kept_layers_and_the_converter_are_named(model, config, host, monkeypatch):
    mixed = replace(config, precision=PrecisionMode.MIXED, high_precision_nodes=('/relu',))
    first = compile_engine(model, mixed, host=host)
    assert first.manifest.settings['nodes_kept_in_float32'] >= 1
    assert first.manifest.tensor_types['float16'] >= 1
    assert set(files(config.output_dir)) == {  # nothing of the conversion stays
        f'{first.entry.path.name}{suffix}' for suffix in ('', '.json', '.sha256')}
    other = compile_engine(model, replace(mixed, high_precision_nodes=('Mul', '/relu')),
                           host=host)
    assert other.reason == 'layers in float32 changed from ["/relu"] to ["/relu", "Mul"]'
    monkeypatch.setattr(buildable_model, 'CONVERSION_SCHEME', 99)
    again = compile_engine(model, replace(mixed, high_precision_nodes=('/relu', 'Mul')),
                           host=host)
    assert again.status == 'BUILT' and again.reason.startswith('converter changed')


@pytest.mark.parametrize('is_external', [False, True])
def test_a_changed_model_builds_again(tmp_path, config, host, is_external):
    path = engine_models.small_model(tmp_path / 'm.onnx', batch='N', is_external=is_external)
    first = compile_engine(path, config, host=host)
    assert compile_engine(path, config, host=host).status == 'REUSED'
    # With weights in a file of their own the model itself stays as it is.
    before = path.read_bytes()
    engine_models.small_model(path, batch='N', is_external=is_external, seed=2)
    assert (path.read_bytes() == before) == is_external
    second = compile_engine(path, config, host=host)
    assert second.status == 'BUILT' and second.entry.sha256 != first.entry.sha256
    assert second.reason == (
        f'ONNX model changed from {first.manifest.onnx_sha256[:12]}... to '
        f'{second.manifest.onnx_sha256[:12]}...')


def test_another_machine_or_precision_has_a_file_of_its_own(model, config, host):
    first = compile_engine(model, config, host=host)
    before = files(config.output_dir)
    jetson = compile_engine(model, config, host=replace(host, platform='36.4.3'))
    assert jetson.status == 'BUILT'
    assert jetson.reason == (f'platform 36.4.3 instead of x86 (beside {first.entry.path.name}, '
                             f'which stays)')
    half = compile_engine(model, replace(config, precision=PrecisionMode.FP16), host=host)
    assert half.reason.startswith('precision fp16 instead of fp32 (beside small_net_v2__smany_')
    assert len({first.entry.path, jetson.entry.path, half.entry.path}) == 3
    assert {name: data for name, data in files(config.output_dir).items()
            if name in before} == before
    with pytest.raises(EngineSchemaMismatchError, match='L4T release or x86 36.4.3, and this'):
        EngineGate(host).validate(jetson.entry.path)


def test_an_engine_for_any_gpu_is_reused_beside_another_one(model, config, host):
    built = compile_engine(model, config, host=replace(host, device_name='NVIDIA RTX A2000'))
    again = compile_engine(model, config, host=replace(host, device_name='NVIDIA L4'))
    assert (built.status, again.status) == ('BUILT', 'REUSED')


def test_another_version_is_named(model, config, host):
    config.output_dir.mkdir()
    old = f'small_net_v2__smany_jpx86_rtx1.6.0.1_{config.precision.value}.engine'
    (config.output_dir / old).write_bytes(b'an engine of before')
    result = compile_engine(model, config, host=host)
    assert result.reason == (f'version {host.version} instead of 1.6.0.1 (beside {old}, which '
                             f'stays)')
    assert (config.output_dir / old).read_bytes() == b'an engine of before'


def test_a_host_that_is_not_that_of_the_builder_publishes_nothing(model, config, host):
    with pytest.raises(EngineSchemaMismatchError, match='version of the plan'):
        compile_engine(model, config, host=replace(host, version='1.6.0.1'))
    assert not list(config.output_dir.iterdir())


def test_the_host_is_that_of_the_builder(host):
    class Tool:
        package, version = 'tensorrt_rtx', '1.5.0.114'

    found = host_of(Tool())
    assert (found.sm, found.package, found.version) == ('any', 'tensorrt_rtx', '1.5.0.114')


def _flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


@pytest.mark.parametrize(('damage', 'said'), [
    (lambda path: _flip(path), 'and its sidecar says'),
    (lambda path: path.with_name(f'{path.name}.sha256').unlink(), 'has no readable sidecar'),
    (lambda path: path.with_name(f'{path.name}.json').unlink(), 'has no readable manifest'),
    (lambda path: _flip(path.with_name(f'{path.name}.json')), 'compile the engine again'),
    (lambda path: path.write_bytes(b''), 'and its sidecar says')])
def test_an_engine_that_the_gate_refuses_is_built_again(model, config, host, damage, said):
    first = compile_engine(model, config, host=host)
    damage(first.entry.path)
    second = compile_engine(model, config, host=host)
    assert second.status == 'BUILT'
    assert second.reason.startswith('the present engine was refused: ') and said in second.reason
    assert compile_engine(model, config, host=host).status == 'REUSED'


def test_a_failure_leaves_the_old_engine(model, config, host, monkeypatch):
    compile_engine(model, config, host=host)
    before = files(config.output_dir)
    good = model.read_bytes()

    onnx = pytest.importorskip('onnx')
    graph = onnx.load(str(model))
    graph.graph.node[1].op_type = 'Einsumm'
    model.write_bytes(graph.SerializeToString())
    with pytest.raises(EngineBuildError, match='Einsumm'):
        compile_engine(model, config, host=host)
    assert files(config.output_dir) == before

    model.write_bytes(good[:-50])
    with pytest.raises(EngineDeserializeError, match='is truncated'):
        compile_engine(model, config, host=host)
    assert files(config.output_dir) == before

    model.write_bytes(good)
    with pytest.raises(EngineBuildError, match='profile'):
        compile_engine(model, replace(config, profiles=(OptimizationProfile(
            'bad', {'z': ((1,),) * 3}),)), host=host)
    assert files(config.output_dir) == before


@pytest.mark.parametrize('error', [KeyboardInterrupt, ZeroDivisionError])
def test_what_the_progress_raises_ends_the_build(model, config, host, error):
    compile_engine(model, config, host=host)
    before = files(config.output_dir)

    def stop(part, done, total):
        raise error

    with pytest.raises(error):
        compile_engine(model, replace(config, optimization_level=1), host=host, on_progress=stop)
    assert files(config.output_dir) == before
    # The lock is free and the builder works on.
    assert compile_engine(model, replace(config, optimization_level=1), host=host
                          ).status == 'BUILT'


def test_a_model_that_changes_while_it_is_built_is_refused(model, config, host):
    other = engine_models.small_model(model.with_name('other.onnx'), batch='N', seed=3)

    def exchange(part, done, total):
        if other.exists():
            os.replace(other, model)

    with pytest.raises(EngineBuildError, match='was changed while its engine was being built'):
        compile_engine(model, config, host=host, on_progress=exchange)
    assert not list(config.output_dir.iterdir())


def test_what_a_killed_conversion_left_is_removed(model, config, host):
    result = compile_engine(model, replace(config, precision=PrecisionMode.FP16), host=host)
    name = result.entry.path.name
    left = [config.output_dir / f'.{name}.converted.onnx',
            config.output_dir / f'..{name}.converted.onnx.999999-0.tmp',
            config.output_dir / f'{name}.next']
    for path in left:
        path.write_bytes(b'half')
    assert compile_engine(model, replace(config, precision=PrecisionMode.FP16), host=host
                          ).status == 'REUSED'
    assert not any(path.exists() for path in left)


def test_a_folder_that_cannot_be_written(model, config, host, tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(EngineBuildError, match='file/engines cannot be written'):
        compile_engine(model, replace(config, output_dir=tmp_path / 'file' / 'engines'),
                       host=host)


def test_beside_the_model_where_no_folder_is_given(model, config, host):
    mode = stat.S_IMODE(model.parent.stat().st_mode)
    result = compile_engine(model, replace(config, output_dir=None), host=host)
    assert result.entry.path.parent == model.parent
    assert stat.S_IMODE(model.parent.stat().st_mode) == mode


def keys(folder):
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


def test_signed_once_and_signed_anew_without_a_build(model, config, host, tmp_path):
    private, public = keys(tmp_path)
    plain = compile_engine(model, config, host=host)
    gate = EngineGate(host, public_key=public)
    with pytest.raises(EngineHashMismatchError, match='has no signature'):
        gate.validate(plain.entry.path)
    signed = compile_engine(model, config, host=host, private_key=private)
    assert (signed.status, signed.reason) == (
        'REUSED', 'nothing that it depends on has changed; it was signed anew')
    assert signed.entry == plain.entry and gate.validate(signed.entry.path).manifest
    # Signed well already: nothing is written.
    before = files(config.output_dir)
    again = compile_engine(model, config, host=host, private_key=private)
    assert (again.status, again.reason) == ('REUSED', 'nothing that it depends on has changed')
    assert files(config.output_dir) == before
    (tmp_path / 'other').mkdir()
    other, _ = keys(tmp_path / 'other')
    assert compile_engine(model, config, host=host, private_key=other).reason.endswith(
        'it was signed anew')
    with pytest.raises(EngineHashMismatchError, match='is no signature of the manifest'):
        gate.validate(plain.entry.path)
    built = compile_engine(model, replace(config, optimization_level=1), host=host,
                           private_key=private)
    assert built.status == 'BUILT' and gate.validate(built.entry.path).manifest


def test_a_key_that_is_none_costs_no_build(model, config, host, tmp_path):
    (tmp_path / 'key.pem').write_text('no key', encoding='utf-8')
    steps = []
    with pytest.raises(ConfigurationError, match='signing key .*key.pem cannot be read as PEM'):
        compile_engine(model, config, host=host, private_key=tmp_path / 'key.pem',
                       on_progress=lambda *step: steps.append(step))
    assert not steps and not list(config.output_dir.iterdir())


def test_int8_needs_ranges(model, config, host):
    with pytest.raises(ConfigurationError, match='has no Q/DQ pairs that say what is int8; give'):
        compile_engine(model, replace(config, precision=PrecisionMode.INT8), host=host)


def check(measured, limit=0.03):
    return AccuracyCheck('mAP50', 0.5, measured, limit, 17, 'd' * 64)


@builds_int8
def test_calibration_travels_and_its_change_is_named(tmp_path, config, host):
    model = engine_models.small_model(tmp_path / 'm.onnx', batch='N')
    quantised = engine_models.quantised_model(tmp_path / 'q.onnx', batch='N')
    asked = []

    def quantize(dataset, measured=0.49):
        def find(source, builder, stem):
            asked.append((source.path, builder.package, stem.name))
            return Quantization({'dataset_sha256': dataset, 'images': 3}, quantised,
                                accuracy=check(measured))
        return find

    int8 = replace(config, precision=PrecisionMode.INT8)
    first = compile_engine(model, int8, host=host, quantize=quantize('a' * 64))
    assert first.manifest.calibration == {'dataset_sha256': 'a' * 64, 'images': 3}
    assert first.manifest.accuracy == check(0.49)
    assert first.manifest.onnx_sha256 == read_onnx_source(model).sha256
    assert asked == [(model, 'tensorrt_rtx', first.entry.path.stem)]
    assert compile_engine(model, int8, host=host, quantize=quantize('a' * 64)).status == 'REUSED'
    second = compile_engine(model, int8, host=host, quantize=quantize('b' * 64))
    assert second.status == 'BUILT'
    assert second.reason == 'calibration changed (dataset_sha256)'
    third = compile_engine(model, int8, host=host, quantize=quantize('b' * 64, 0.48))
    assert third.reason == 'accuracy check changed (measured)'
    exactly = compile_engine(model, int8, host=host, quantize=quantize('b' * 64, 0.47))
    assert exactly.status == 'BUILT' and exactly.manifest.accuracy.drop == 0.03

    before = files(config.output_dir)
    with pytest.raises(EngineSchemaMismatchError, match='as int8 has mAP50 0.4600 on 17 images, '
                                                        '0.0400 less than the 0.5000'):
        compile_engine(model, int8, host=host, quantize=quantize('b' * 64, 0.46))
    assert files(config.output_dir) == before
    # Nobody is asked for what other precisions do not need.
    asked.clear()
    compile_engine(model, config, host=host, quantize=quantize('b' * 64))
    assert not asked


@builds_int8
def test_a_model_that_brings_its_ranges(tmp_path, config, host):
    path = engine_models.quantised_model(tmp_path / 'q.onnx', batch='N')
    result = compile_engine(path, replace(config, precision=PrecisionMode.INT8), host=host)
    assert result.manifest.calibration is None
    types = result.manifest.tensor_types
    assert types['int8'] >= 1 and types['float16'] >= 1


def test_an_engine_can_be_moved_with_its_files(model, config, host, tmp_path):
    result = compile_engine(model, config, host=host)
    vehicle = tmp_path / 'vehicle'
    shutil.copytree(config.output_dir, vehicle)
    trusted = EngineGate(host).validate(vehicle / result.entry.path.name)
    assert trusted.sha256 == result.entry.sha256
    assert parse_engine_name(trusted.path.name).host == replace(host, device_name='')
