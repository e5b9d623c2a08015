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

"""The gate: its order, one distinct refusal for everything that is wrong, and nothing imported."""

from dataclasses import replace
import hashlib
import os
from pathlib import Path
import random
import shutil
import socket
import subprocess
import sys

from c7_inference_ros.engines.filename import engine_name
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.trust.manifest import manifest_bytes
from c7_inference_ros.engines.trust.manifest import read_manifest
from c7_inference_ros.engines.types import AccuracyCheck
from c7_inference_ros.engines.types import HostTuple
from c7_inference_ros.engines.types import PrecisionMode
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineDeserializeError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import EngineSchemaMismatchError
from c7_inference_ros.errors import EngineSidecarMissingError
from c7_inference_ros.errors import InferenceRuntimeError
from c7_inference_ros.errors import OutOfMemoryError
import pytest
import trust_files as files
from trust_files import beside
from trust_files import ORIN
from trust_files import publish

MISMATCH, HASH, MISSING = (
    EngineSchemaMismatchError, EngineHashMismatchError, EngineSidecarMissingError)


def rewrite(path, data=None, **changes):
    """Exchange the bytes or the manifest of an engine, and make all hashes fit again."""
    if data is not None:
        path.write_bytes(data)
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    beside(path, '.sha256').write_text(digest)
    manifest = read_manifest(beside(path, '.json'))
    beside(path, '.json').write_bytes(manifest_bytes(replace(
        manifest, **{'engine_sha256': digest, 'engine_bytes': len(data), **changes})))


def rename(path, **changes):
    """Give an engine and its parts the name of another host, model or precision."""
    from c7_inference_ros.engines.filename import parse_engine_name
    target = path.with_name(replace(parse_engine_name(path.name), **changes).build())
    for suffix in ('', '.json', '.sha256'):
        os.rename(beside(path, suffix), beside(target, suffix))
    return target


def swap(path, other, *suffixes):
    for suffix in suffixes:
        shutil.copy(beside(other, suffix), beside(path, suffix))


def flip(path, bit=1000):
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)


def outside(path, suffix=''):
    """Move a part of an engine out of its folder and leave a link."""
    place = path.parent.parent / 'elsewhere'
    place.mkdir(exist_ok=True)
    target = place / (path.name + suffix)
    os.rename(beside(path, suffix), target)
    beside(path, suffix).symlink_to(target)


def truncate(path, size):
    os.truncate(path, size)


def pipe(path):
    path.unlink()
    os.mkfifo(path)


def bad_accuracy(drop, limit):
    return AccuracyCheck('mAP50', 0.5, 0.5 - drop, limit, 17, '0' * 64)


#: What is done to a good engine, the error, its stage, and what only this message says.
WRONG = {
    'name': (lambda p: rename_file(p, 'yolox.engine'), MISMATCH, None, 'no __ ends the model'),
    'sm': (lambda p: rename(p, sm='86'), MISMATCH, None, 'compute capability 86, and this'),
    'platform': (lambda p: rename(p, platform='36.4.4'), MISMATCH, None, 'L4T release or x86 36.'),
    'version': (lambda p: rename(p, version='10.3.1'), MISMATCH, None, 'TensorRT version 10.3.1'),
    'package': (lambda p: rename(p, package='tensorrt_rtx'), MISMATCH, None,
                'TensorRT package tensorrt_rtx'),
    'precision': (lambda p: rename(p, precision=PrecisionMode.INT8), MISMATCH, None,
                  'precision int8, expected fp16 as configured'),
    'missing': (lambda p: p.unlink(), EngineDeserializeError, None, 'does not exist'),
    'folder': (lambda p: (p.unlink(), p.mkdir()), MISMATCH, None, 'is no regular file'),
    'link': (outside, MISMATCH, None, '.engine is a link to'),
    'no sidecar': (lambda p: beside(p, '.sha256').unlink(), MISSING, None, 'no readable sidecar'),
    'sidecar is a link': (lambda p: outside(p, '.sha256'), MISMATCH, None,
                          '.sha256 is a link to'),
    'sidecar malformed': (lambda p: beside(p, '.sha256').write_text('0' * 63), HASH, 'sidecar',
                          '64 lowercase hex characters and nothing'),
    'flipped': (flip, HASH, 'sidecar', 'its sidecar says'),
    'no manifest': (lambda p: beside(p, '.json').unlink(), MISSING, None, 'no readable manifest'),
    'manifest is a link': (lambda p: outside(p, '.json'), MISMATCH, None, '.json is a link to'),
    'manifest is junk': (lambda p: beside(p, '.json').write_text('hello'), MISMATCH, None,
                         'no JSON of a manifest'),
    'manifest schema': (lambda p: edit(p, '"schema_version": 1', '"schema_version": 2'), MISMATCH,
                        None, 'schema_version is 2, expected 1'),
    'manifest edited': (lambda p: edit(p, '114.5', '214.5'), HASH, 'manifest',
                        'edited after it was written'),
    'manifest of another engine': (lambda p: rewrite(p, engine_sha256='0' * 64), HASH, 'manifest',
                                   'is the manifest of an engine with'),
    'manifest size': (lambda p: rewrite(p, engine_bytes=1), MISMATCH, None, 'has engine_bytes 1'),
    'manifest model': (lambda p: rename(p, model='other'), MISMATCH, None, "has model 'yolox"),
    'manifest sm': (lambda p: rewrite(p, host=replace(ORIN, sm='86')), MISMATCH, None,
                    "has host.sm '86'"),
    'manifest platform': (lambda p: rewrite(p, host=replace(ORIN, platform='x86')), MISMATCH,
                          None, "has host.platform 'x86'"),
    'manifest package': (lambda p: rewrite(p, host=replace(ORIN, package='tensorrt_rtx')),
                         MISMATCH, None, "has host.package 'tensorrt_rtx'"),
    'manifest version': (lambda p: rewrite(p, host=replace(ORIN, version='10.4')), MISMATCH, None,
                         "has host.version '10.4'"),
    'manifest precision': (lambda p: rewrite(p, precision=PrecisionMode.FP32), MISMATCH, None,
                           "has precision 'fp32'"),
    'device': (lambda p: rewrite(p, host=replace(ORIN, device_name='Jetson AGX Orin 64GB')),
               MISMATCH, None, "was built on device 'Jetson AGX Orin 64GB'"),
    'accuracy limit': (lambda p: rewrite(p, accuracy=bad_accuracy(0.1, 0.03)), MISMATCH, None,
                       'more than the 0.03'),
    'accuracy configured': (lambda p: rewrite(p, accuracy=bad_accuracy(0.3, 0.9)), MISMATCH, None,
                            'engines.max_accuracy_drop is 0.2'),
    'header magic': (lambda p: rewrite(p, b'hello' * 100), MISMATCH, None, 'expected a plan of'),
    'header cut': (lambda p: rewrite(p, files.tensorrt_plan()[:20]), MISMATCH, None,
                   'cut off within its header'),
    'header package': (lambda p: rewrite(p, files.rtx_plan()), MISMATCH, None,
                       'holds a plan of tensorrt_rtx'),
    'header version': (lambda p: rewrite(p, files.tensorrt_plan(version=(10, 7, 0, 1))), MISMATCH,
                       None, 'was written by version 10.7.0.1'),
    'not deployed': (lambda p: deploy(p, 'other.engine'), HASH, 'deployment',
                     'is not in the deployment list'),
    'deployed otherwise': (lambda p: deploy(p, p.name, '0' * 64), HASH, 'deployment',
                           'deploy the engine that was released'),
    'not signed': (lambda p: beside(p, '.sig').unlink(), HASH, 'signature', 'has no signature'),
    'signature is a link': (lambda p: outside(p, '.sig'), MISMATCH, None, '.sig is a link to'),
    'signature malformed': (lambda p: beside(p, '.sig').write_text('hello'), HASH, 'signature',
                            'that are no signature'),
    'signed by another': (lambda p: beside(p, '.sig').write_text('0' * 128), HASH, 'signature',
                          'is no signature of the manifest beside it'),
}
NEEDS_KEY = {'not signed', 'signature malformed', 'signed by another'}


def rename_file(path, name):
    os.rename(path, path.with_name(name))
    return path.with_name(name)


def edit(path, old, new):
    manifest = beside(path, '.json')
    text = manifest.read_text()
    assert old in text
    manifest.write_text(text.replace(old, new))


def deploy(path, name, digest=None):
    """Write the deployment list that the gate of :func:`refusal` uses."""
    digest = digest or hashlib.sha256(path.read_bytes()).hexdigest()
    (path.parent.parent / 'released.txt').write_text(f'{digest}  {name}\n')


def refusal(tmp_path, case):
    """Spoil a good engine and return how the gate refuses it."""
    spoil, kind, stage, words = WRONG[case]
    folder = tmp_path / 'engines'
    private = public = None
    if case in NEEDS_KEY:
        private, public = files.make_keys(tmp_path)
    path = publish(folder, private_key=private)
    if case == 'signature is a link':
        beside(path, '.sig').write_text('0' * 128)
    deploy(path, path.name)
    EngineGate(ORIN, deployment_list=tmp_path / 'released.txt', public_key=public,
               max_accuracy_drop=0.2).validate(path, PrecisionMode.FP16)
    renamed = spoil(path)
    path = renamed if isinstance(renamed, Path) and renamed.name.endswith('.engine') else path
    gate = EngineGate(ORIN, deployment_list=tmp_path / 'released.txt', public_key=public,
                      max_accuracy_drop=0.2)
    before = snapshot(tmp_path)
    with pytest.raises(kind, match='') as caught:
        gate.validate(path, PrecisionMode.FP16)
    assert type(caught.value) is kind, caught.value
    assert getattr(caught.value, 'stage', None) == stage
    assert words in str(caught.value)
    assert snapshot(tmp_path) == before, 'the gate wrote something'
    return str(caught.value)


def snapshot(folder):
    return {str(path.relative_to(folder)): (path.lstat().st_mtime_ns, path.lstat().st_size)
            for path in folder.rglob('*')}


@pytest.mark.parametrize('case', WRONG)
def test_everything_that_is_wrong_is_refused(tmp_path, case):
    message = refusal(tmp_path, case)
    assert '\n' not in message
    assert 'engine' in message
    assert any(word in message for word in (
        'compile', 'copy', 'correct', 'give', 'raise', 'deploy', 'take')), message


def test_every_refusal_says_something_else(tmp_path):
    pytest.importorskip('cryptography', reason='cryptography is not installed here')
    messages = {}
    for number, case in enumerate(WRONG):
        place = tmp_path / str(number)
        place.mkdir()
        message = refusal(place, case).replace(str(place), '')
        assert message not in messages.values(), f'{case} says the same as another'
        messages[case] = message
    for case, (_, _, _, words) in WRONG.items():
        says = [other for other, message in messages.items() if words in message]
        assert says == [case], f'what {case} says is also said by {says}'


def test_a_good_engine_passes_with_its_bytes(tmp_path):
    plan = files.tensorrt_plan(seed=5)
    path = publish(tmp_path / 'engines', plan)
    trusted = EngineGate(ORIN).validate(path, PrecisionMode.FP16)
    assert trusted.data == plan
    assert trusted.sha256 == hashlib.sha256(plan).hexdigest()
    assert trusted.path == path
    assert trusted.name == engine_name('yolox_nano', ORIN, PrecisionMode.FP16)
    assert trusted.manifest == read_manifest(beside(path, '.json'))
    assert trusted.manifest.model == 'yolox_nano'
    assert trusted.warnings == ()
    assert EngineGate(ORIN).validate(str(path)).data == plan


def test_the_order_of_the_checks(tmp_path):
    """With everything wrong at once, mending one thing after the other shows the order."""
    private, public = files.make_keys(tmp_path)
    path = publish(tmp_path / 'engines', private_key=private)
    good = {suffix: beside(path, suffix).read_bytes()
            for suffix in ('', '.json', '.sha256', '.sig')}
    released = tmp_path / 'released.txt'
    broken = files.tensorrt_plan(seed=9, version=(9, 0, 0, 0))
    path.write_bytes(broken)
    beside(path, '.json').write_text('hello')
    for suffix in ('.sha256', '.sig'):
        beside(path, suffix).unlink()
    released.write_text(f'{"0" * 64}  other.engine\n')
    host = replace(ORIN, version='9.9')
    # A signed manifest of the broken plan, so that the header is what refuses.
    spare = publish(tmp_path / 'spare', model='spare')
    os.rename(spare, spare.with_name(path.name))
    for suffix in ('.json', '.sha256'):
        os.rename(beside(spare, suffix), beside(spare.with_name(path.name), suffix))
    spare = spare.with_name(path.name)
    rewrite(spare, broken, model='yolox_nano')

    def refused(kind, words, stage=None, name=None):
        gate = EngineGate(host, deployment_list=released, public_key=public)
        with pytest.raises(kind, match=words) as caught:
            gate.validate(name or path, PrecisionMode.INT8 if is_int8 else PrecisionMode.FP16)
        assert getattr(caught.value, 'stage', None) == stage

    is_int8 = True
    refused(MISMATCH, 'is no name', name=path.with_name('x.engine'))
    refused(MISMATCH, 'TensorRT version')
    host = ORIN
    refused(MISMATCH, 'precision fp16, expected int8')
    is_int8 = False
    refused(MISSING, 'no readable sidecar')
    beside(path, '.sha256').write_text('junk')
    refused(HASH, '64 lowercase hex', 'sidecar')
    beside(path, '.sha256').write_text('0' * 64)
    refused(HASH, 'its sidecar says', 'sidecar')
    beside(path, '.sha256').write_bytes(beside(spare, '.sha256').read_bytes())
    refused(MISMATCH, 'no JSON')
    beside(path, '.json').write_bytes(beside(spare, '.json').read_bytes())
    refused(MISMATCH, 'was written by version 9.0.0.0')
    for suffix in ('', '.json', '.sha256'):
        beside(path, suffix).write_bytes(good[suffix])
    refused(HASH, 'not in the deployment list', 'deployment')
    deploy(path, path.name)
    refused(HASH, 'has no signature', 'signature')
    beside(path, '.sig').write_bytes(good['.sig'])
    EngineGate(host, deployment_list=released, public_key=public).validate(path)


@pytest.mark.parametrize('suffixes, stage', [
    (('.sha256',), 'sidecar'), (('.json',), 'manifest'), (('.sha256', '.json'), 'sidecar'),
    (('',), 'sidecar'), (('', '.sha256'), 'manifest')])
def test_files_of_two_engines_that_were_mixed_up(tmp_path, suffixes, stage):
    path = publish(tmp_path / 'engines', files.tensorrt_plan(1))
    other = publish(tmp_path / 'engines', files.tensorrt_plan(2), model='person')
    swap(path, other, *suffixes)
    with pytest.raises(HASH) as caught:
        EngineGate(ORIN).validate(path)
    assert caught.value.stage == stage
    EngineGate(ORIN).validate(other)


def test_two_engines_that_changed_places_whole(tmp_path):
    """All hashes fit; only the model in the manifest tells them apart."""
    path = publish(tmp_path / 'engines', files.tensorrt_plan(1))
    other = publish(tmp_path / 'engines', files.tensorrt_plan(2), model='person')
    swap(path, other, '', '.sha256', '.json')
    with pytest.raises(MISMATCH, match="has model 'person'"):
        EngineGate(ORIN).validate(path)


@pytest.mark.parametrize('plan', [files.tensorrt_plan(), files.rtx_plan()], ids=['trt', 'rtx'])
def test_every_truncation_is_refused(tmp_path, plan):
    host = ORIN if plan[:4] == b'ftrt' else files.RTX
    path = publish(tmp_path / 'engines', plan, host=host)
    gate = EngineGate(host)
    for size in [*range(0, 70), *range(70, len(plan), 97), len(plan) - 1]:
        path.write_bytes(plan[:size])
        with pytest.raises(HASH) as caught:
            gate.validate(path)
        assert caught.value.stage == 'sidecar'
    path.write_bytes(plan + b'\0')
    with pytest.raises(HASH):
        gate.validate(path)
    path.write_bytes(plan)
    assert gate.validate(path).data == plan


def test_a_cut_rtx_engine_is_refused_though_all_hashes_fit(tmp_path):
    path = publish(tmp_path / 'engines', files.rtx_plan(), host=files.RTX)
    for data in (files.rtx_plan()[:-1], files.rtx_plan() + b'\0'):
        rewrite(path, data)
        with pytest.raises(MISMATCH, match='and its header says 3000'):
            EngineGate(files.RTX).validate(path)


def test_every_flipped_bit_beside_the_engine_is_refused(tmp_path):
    private, public = files.make_keys(tmp_path)
    # Few fields, because every bit of the manifest is a file to judge; test_manifest.py has all.
    path = publish(tmp_path / 'engines', private_key=private, inputs=(), outputs=(), profiles=(),
                   settings={}, metadata={}, calibration=None, accuracy=None, warnings=())
    gate = EngineGate(ORIN, public_key=public)
    for suffix in ('.sha256', '.sig', '.json'):
        file = beside(path, suffix)
        good = file.read_bytes()
        for bit in range(len(good) * 8):
            flipped = bytearray(good)
            flipped[bit // 8] ^= 1 << bit % 8
            file.write_bytes(flipped)
            with pytest.raises(InferenceRuntimeError):
                gate.validate(path)
        file.write_bytes(good)
    gate.validate(path)


def flip_random_bits(path, gate, flips):
    """Flip bits of an engine in its file, one at a time; the whole gate has to refuse each."""
    chance = random.Random(20261124)
    size = path.stat().st_size
    # Not through write_bytes(): the file itself is what a bad medium changes.
    with open(path, 'r+b', buffering=0) as file:
        for _ in range(flips):
            place, bit = chance.randrange(size), chance.randrange(8)
            good = os.pread(file.fileno(), 1, place)
            os.pwrite(file.fileno(), bytes([good[0] ^ 1 << bit]), place)
            with pytest.raises(HASH) as caught:
                gate.validate(path)
            assert caught.value.stage == 'sidecar'
            os.pwrite(file.fileno(), good, place)


def test_two_thousand_flipped_bits_of_an_engine_are_refused(tmp_path):
    path = publish(tmp_path / 'engines', files.tensorrt_plan(size=100_000))
    gate = EngineGate(ORIN)
    flip_random_bits(path, gate, 2000)
    gate.validate(path)


@pytest.mark.builder
def test_two_thousand_flipped_bits_of_a_real_engine_are_refused(tmp_path):
    plan, _ = files.real_engine()
    host = files.real_host()
    path = publish(tmp_path / 'engines', plan, host=host, precision=PrecisionMode.FP32)
    gate = EngineGate(host)
    assert gate.validate(path).data == plan
    flip_random_bits(path, gate, 2000)
    assert gate.validate(path).data == plan


@pytest.mark.builder
def test_a_real_engine_of_another_version_is_refused(tmp_path):
    plan, version = files.real_engine()
    host = files.real_host()
    path = publish(tmp_path / 'engines', plan, host=host, precision=PrecisionMode.FP32)
    other = replace(host, version=version + '1')
    with pytest.raises(MISMATCH, match='TensorRT version'):
        EngineGate(other).validate(path)
    # Also when everything but the plan itself says so.
    renamed = rename(path, version=other.version)
    rewrite(renamed, host=other)
    with pytest.raises(MISMATCH, match=f'was written by version {version}'):
        EngineGate(other).validate(renamed)


@pytest.mark.parametrize('suffix', ['', '.json', '.sha256'])
def test_links_within_the_folder_are_followed(tmp_path, suffix):
    path = publish(tmp_path / 'engines')
    stored = path.with_name(f'stored{suffix}')
    os.rename(beside(path, suffix), stored)
    beside(path, suffix).symlink_to(stored.name)
    EngineGate(ORIN).validate(path)


@pytest.mark.parametrize('suffix', ['', '.json', '.sha256'])
def test_a_link_that_is_turned_after_it_was_looked_at(tmp_path, monkeypatch, suffix):
    """What is opened is a file of the folder, whatever happens to its name in between."""
    path = publish(tmp_path / 'engines')
    stored, foreign = path.with_name('stored' + suffix), tmp_path / ('foreign' + suffix)
    beside(path, suffix).rename(stored)
    beside(path, suffix).symlink_to(stored.name)
    foreign.write_bytes(stored.read_bytes())
    kept = tmp_path / 'kept'
    real = os.path.realpath

    def turn(name, *arguments, **options):
        if os.fspath(name) != os.fspath(beside(path, suffix)):
            return real(name, *arguments, **options)
        if stored.is_symlink():
            kept.replace(stored)
        found = real(name, *arguments, **options)
        stored.rename(kept)
        stored.symlink_to(foreign)
        return found

    monkeypatch.setattr(os.path, 'realpath', turn)
    with pytest.raises(InferenceRuntimeError):
        EngineGate(ORIN).validate(path)
    assert stored.is_symlink()


@pytest.mark.parametrize('target', ['../elsewhere', 'within/x', '/etc/hostname', 'nothing'])
def test_other_links_are_refused(tmp_path, target):
    path = publish(tmp_path / 'engines')
    (tmp_path / 'elsewhere').write_bytes(path.read_bytes())
    (path.parent / 'within').mkdir()
    (path.parent / 'within/x').write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(target)
    with pytest.raises(EngineDeserializeError, match='is a link to|does not exist'):
        EngineGate(ORIN).validate(path)


def test_a_link_that_leads_in_a_circle(tmp_path):
    path = publish(tmp_path / 'engines')
    path.unlink()
    path.symlink_to(path.name)
    with pytest.raises(EngineDeserializeError, match='cannot be opened'):
        EngineGate(ORIN).validate(path)


def test_the_folder_itself_may_be_a_link(tmp_path):
    path = publish(tmp_path / 'engines')
    (tmp_path / 'current').symlink_to('engines')
    EngineGate(ORIN).validate(tmp_path / 'current' / path.name)


@pytest.mark.parametrize('suffix', ['', '.json', '.sha256'])
def test_what_is_no_regular_file_is_refused_at_once(tmp_path, suffix):
    path = publish(tmp_path / 'engines')
    pipe(beside(path, suffix))
    with pytest.raises(MISMATCH, match='no regular file'):
        EngineGate(ORIN).validate(path)
    beside(path, suffix).unlink()
    with socket.socket(socket.AF_UNIX) as server:
        before = os.getcwd()
        os.chdir(path.parent)  # The name of a socket may only be short.
        try:
            server.bind('socket')
        finally:
            os.chdir(before)
        os.rename(path.parent / 'socket', beside(path, suffix))
        with pytest.raises(InferenceRuntimeError, match='No such device|cannot be opened'):
            EngineGate(ORIN).validate(path)


def test_the_file_is_read_once_and_what_was_hashed_is_returned(tmp_path, monkeypatch):
    """Whoever exchanges the file while it is judged gains nothing."""
    plan = files.tensorrt_plan(1)
    path = publish(tmp_path / 'engines', plan)
    real, reads = os.pread, []

    def pread(descriptor, size, offset):
        data = real(descriptor, size, offset)
        if data[:4] == b'ftrt':
            reads.append(len(data))
            path.write_bytes(b'evil' * 750)
        return data
    monkeypatch.setattr(os, 'pread', pread)
    trusted = EngineGate(ORIN).validate(path)
    assert trusted.data == plan
    assert reads == [len(plan)]
    with pytest.raises(HASH):
        EngineGate(ORIN).validate(path)


def test_memory_is_asked_for_before_the_bytes_are_read(tmp_path, monkeypatch):
    path = publish(tmp_path / 'engines', files.tensorrt_plan(size=5000))
    asked = []

    def admit(size):
        asked.append(size)
        raise OutOfMemoryError('too large')
    real = os.pread

    def pread(descriptor, size, offset):
        data = real(descriptor, size, offset)
        assert data[:4] != b'ftrt', 'the engine was read'
        return data
    monkeypatch.setattr(os, 'pread', pread)
    with pytest.raises(OutOfMemoryError, match='too large'):
        EngineGate(ORIN).validate(path, admit=admit)
    assert asked == [5000]
    beside(path, '.sha256').unlink()
    with pytest.raises(MISSING):
        EngineGate(ORIN).validate(path, admit=admit)
    assert asked == [5000]


@pytest.mark.parametrize('compatibility', ['ampere_plus', 'same_compute_capability'])
def test_a_compatible_engine_runs_on_another_device(tmp_path, compatibility):
    path = publish(tmp_path / 'engines', hardware_compatibility=compatibility)
    other = replace(ORIN, device_name='Jetson AGX Orin 64GB')
    assert EngineGate(other).validate(path).warnings == ()


def test_an_engine_that_is_compiled_at_load_runs_on_another_device(tmp_path):
    path = publish(tmp_path / 'engines', host=files.RTX)
    assert EngineGate(replace(files.RTX, device_name='other')).validate(path).warnings == ()


@pytest.mark.parametrize('theirs, ours', [('', 'b'), ('a', ''), ('', '')])
def test_a_device_that_is_not_known_is_a_warning(tmp_path, theirs, ours):
    path = publish(tmp_path / 'engines', host=replace(ORIN, device_name=theirs))
    warning, = EngineGate(replace(ORIN, device_name=ours)).validate(path).warnings
    assert 'whether it was built on the same device is not known' in warning


def test_accuracy(tmp_path):
    folder = tmp_path / 'engines'
    for drop, limit, maximum in [(0.03, 0.05, 0.04), (0.03, 0.03, 0.03),
                                 (0.0, 0.0, 0.0), (-0.1, 0.0, 0.0)]:
        path = publish(folder, accuracy=bad_accuracy(drop, limit))
        EngineGate(ORIN, max_accuracy_drop=maximum).validate(path)
    path = publish(folder, precision=PrecisionMode.INT8, accuracy=None)
    EngineGate(ORIN).validate(path)
    with pytest.raises(MISMATCH, match='whose accuracy nobody checked'):
        EngineGate(ORIN, max_accuracy_drop=0.5).validate(path)
    path = publish(folder, precision=PrecisionMode.FP16, accuracy=None)
    EngineGate(ORIN, max_accuracy_drop=0.5).validate(path)


def test_the_deployment_list_may_cover_the_manifest(tmp_path):
    path = publish(tmp_path / 'engines')
    released = tmp_path / 'released.txt'
    released.write_text(''.join(
        f'{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n'
        for file in (path, beside(path, '.json'))))
    gate = EngineGate(ORIN, deployment_list=released)
    gate.validate(path)
    rewrite(path, processing={'decoder': 'other'})
    with pytest.raises(HASH, match='json has SHA-256') as caught:
        gate.validate(path)
    assert caught.value.stage == 'deployment'
    with pytest.raises(ConfigurationError):
        EngineGate(ORIN, deployment_list=tmp_path / 'none.txt')


def test_what_others_could_write_is_a_warning(tmp_path):
    path = publish(tmp_path / 'engines')
    path.parent.chmod(0o777)
    beside(path, '.json').chmod(0o620)
    warnings = EngineGate(ORIN).validate(path).warnings
    assert len(warnings) == 2
    assert f'{path.parent} can be written by others (mode 0777)' in warnings[0]
    assert f'{path.name}.json can be written by others (mode 0620)' in warnings[1]
    path.parent.chmod(0o755)
    beside(path, '.json').chmod(0o644)
    assert EngineGate(ORIN).validate(path).warnings == ()


def test_an_owner_who_is_somebody_else_is_a_warning(tmp_path):
    if os.geteuid():
        pytest.skip('only root can give files away')
    path = publish(tmp_path / 'engines')
    os.chown(path, 12345, -1)
    warning, = EngineGate(ORIN).validate(path).warnings
    assert 'belongs to uid 12345' in warning


def test_an_engine_that_is_larger_than_memory(tmp_path):
    """A hole in a file takes no disk; nobody asked the gate for its memory first."""
    path = publish(tmp_path / 'engines')
    os.truncate(path, 1 << 42)
    code = ('import resource, sys\n'
            'from pathlib import Path\n'
            'from c7_inference_ros.engines.trust.gate import EngineGate\n'
            'from c7_inference_ros.engines.types import HostTuple\n'
            'from c7_inference_ros.errors import EngineDeserializeError\n'
            'resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))\n'
            'gate = EngineGate(HostTuple("87", "36.4.3", "tensorrt", "10.3.0"))\n'
            'try:\n'
            '    gate.validate(Path(sys.argv[1]))\n'
            'except EngineDeserializeError as error:\n'
            '    print(error)\n')
    done = subprocess.run([sys.executable, '-c', code, str(path)], capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': os.pathsep.join(sys.path)},
                          timeout=60, check=False)
    assert f'has {1 << 42} bytes, more than this process gets memory for' in done.stdout, (
        done.stderr)


def test_files_that_may_not_be_read(tmp_path):
    """Somebody else runs the node; root, who may read everything, becomes another user."""
    path = publish(tmp_path / 'engines')
    code = ('import os, sys\n'
            'from pathlib import Path\n'
            'from c7_inference_ros.engines.trust.gate import EngineGate\n'
            'from c7_inference_ros.engines.types import HostTuple\n'
            'from c7_inference_ros.errors import InferenceRuntimeError\n'
            'os.chdir(sys.argv[1])\n'
            'if not os.geteuid():\n'
            '    os.seteuid(65534)\n'
            'gate = EngineGate(HostTuple("87", "36.4.3", "tensorrt", "10.3.0"))\n'
            'try:\n'
            '    gate.validate(Path(sys.argv[2]))\n'
            'except InferenceRuntimeError as error:\n'
            '    print(f"{type(error).__name__}: {error}")\n')

    def refusal():
        return subprocess.run([sys.executable, '-c', code, str(path.parent), path.name],
                              capture_output=True, text=True, check=True).stdout
    path.parent.chmod(0o755)
    for suffix in ('', '.json', '.sha256'):
        beside(path, suffix).chmod(0o644)
    path.chmod(0)
    assert 'EngineDeserializeError' in refusal()
    assert 'may not be read by this user' in refusal()
    path.chmod(0o644)
    beside(path, '.sha256').chmod(0)
    assert 'EngineSidecarMissingError' in refusal()
    assert 'Permission denied' in refusal()
    beside(path, '.sha256').chmod(0o644)
    beside(path, '.json').chmod(0)
    assert 'no readable manifest' in refusal()
    path.parent.chmod(0)
    # The folder is the working directory there.
    assert '. may not be read by this user' in refusal()
    path.parent.chmod(0o700)


NO_IMPORTS = """
import importlib.abc, sys
heavy = {'tensorrt', 'tensorrt_rtx', 'tensorrt_bindings', 'tensorrt_rtx_bindings', 'pycuda',
         'cuda', 'cupy', 'torch', 'onnxruntime', 'onnx', 'polygraphy', 'pynvml', 'rclpy',
         'cryptography'} - set(sys.argv[2].split(','))

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in heavy:
            raise AssertionError(f'{name} is imported')

sys.meta_path.insert(0, Refuse())
if sys.argv[3] == 'none':
    sys.modules.update(dict.fromkeys(heavy))
from pathlib import Path
from c7_inference_ros.engines.trust.gate import EngineGate
from c7_inference_ros.engines.types import HostTuple
gate = EngineGate(HostTuple('87', '36.4.3', 'tensorrt', '10.3.0', 'Jetson Orin Nano 8GB'),
                  public_key=Path(sys.argv[4]) if len(sys.argv) > 4 else None)
trusted = gate.validate(Path(sys.argv[1]))
loaded = {name.partition('.')[0] for name, module in sys.modules.items() if module is not None}
assert not loaded & heavy, loaded & heavy
print(trusted.sha256)
"""


@pytest.mark.parametrize('block', ['none', 'raise'])
@pytest.mark.parametrize('with_key', [False, True])
def test_nothing_heavy_is_imported(tmp_path, block, with_key):
    private, public = files.make_keys(tmp_path) if with_key else (None, None)
    path = publish(tmp_path / 'engines', private_key=private)
    arguments = [str(path), 'cryptography' if with_key else '', block]
    arguments += [str(public)] if with_key else []
    done = subprocess.run([sys.executable, '-c', NO_IMPORTS, *arguments], capture_output=True,
                          text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hashlib.sha256(path.read_bytes()).hexdigest()


def test_engines_can_be_judged_at_the_same_time_and_from_a_read_only_folder(tmp_path):
    from concurrent.futures import ThreadPoolExecutor
    paths = [publish(tmp_path / 'engines', files.tensorrt_plan(n), model=f'm{n}')
             for n in range(8)]
    (tmp_path / 'engines').chmod(0o500)
    gate = EngineGate(ORIN)
    with ThreadPoolExecutor(8) as pool:
        for number, trusted in enumerate(pool.map(gate.validate, paths)):
            assert trusted.data == files.tensorrt_plan(number)
    assert len(os.listdir(f'/proc/{os.getpid()}/fd')) < 200, 'files were left open'


def test_nothing_is_left_open_by_a_refusal(tmp_path):
    path = publish(tmp_path / 'engines')
    beside(path, '.json').write_text('hello')
    before = len(os.listdir('/proc/self/fd'))
    for _ in range(20):
        with pytest.raises(MISMATCH):
            EngineGate(ORIN).validate(path)
    pipe(beside(path, '.sha256'))
    for _ in range(20):
        with pytest.raises(MISMATCH):
            EngineGate(ORIN).validate(path)
    assert len(os.listdir('/proc/self/fd')) == before


def test_hosts_that_differ_in_several_things_are_told_all(tmp_path):
    path = publish(tmp_path / 'engines')
    with pytest.raises(MISMATCH) as caught:
        EngineGate(HostTuple('89', 'x86', 'tensorrt', '10.9.0')).validate(path)
    for words in ('compute capability 87', '89', 'L4T release or x86 36.4.3 and not x86',
                  'TensorRT version 10.3.0 and not 10.9.0', 'compile_engine'):
        assert words in str(caught.value)
