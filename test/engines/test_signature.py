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

"""Only the signature of these bytes by this key is accepted."""

import shutil
import subprocess
import sys

from c7_inference_ros.engines.trust.signature import ManifestVerifier
from c7_inference_ros.engines.trust.signature import sign_manifest
from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import RuntimeNotAvailableError
import pytest
import trust_files as files

MANIFEST = b'{"a": 1}\n'


@pytest.fixture
def keys(tmp_path):
    return files.make_keys(tmp_path)


def refused(public, path, manifest, signature):
    with pytest.raises(EngineHashMismatchError) as caught:
        ManifestVerifier(public).verify(path, manifest, signature)
    assert caught.value.stage == 'signature'
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_a_signature_is_made_and_accepted(keys, tmp_path):
    private, public = keys
    signature = sign_manifest(private, MANIFEST)
    assert len(signature) == 128
    bytes.fromhex(signature.decode())
    ManifestVerifier(public).verify(tmp_path / 'a.sig', MANIFEST, signature)
    ManifestVerifier(public).verify(tmp_path / 'a.sig', MANIFEST, signature + b'\n')


def test_other_bytes_other_keys_and_other_forms_are_refused(keys, tmp_path):
    private, public = keys
    other_private, other_public = files.make_keys(tmp_path, 'other')
    signature = sign_manifest(private, MANIFEST)
    path = tmp_path / 'a.sig'
    assert 'is no signature of the manifest' in refused(public, path, b'{"a": 2}\n', signature)
    assert str(other_public) in refused(other_public, path, MANIFEST, signature)
    refused(public, path, MANIFEST, sign_manifest(other_private, MANIFEST))
    for form in (b'', signature[:-1], signature.upper(), signature + b'\n\n', b' ' + signature,
                 bytes.fromhex(signature.decode()), b'z' * 128):
        assert '128 lowercase hex' in refused(public, path, MANIFEST, form)


def test_every_flipped_bit_of_signature_and_manifest_is_refused(keys, tmp_path):
    private, public = keys
    verifier = ManifestVerifier(public)
    signature = sign_manifest(private, MANIFEST)
    for data, check in (
            (signature, lambda flipped: verifier.verify(tmp_path, MANIFEST, flipped)),
            (MANIFEST, lambda flipped: verifier.verify(tmp_path, flipped, signature))):
        for bit in range(len(data) * 8):
            flipped = bytearray(data)
            flipped[bit // 8] ^= 1 << bit % 8
            with pytest.raises(EngineHashMismatchError):
                check(bytes(flipped))


def test_keys_of_openssl_are_understood(tmp_path):
    pytest.importorskip('cryptography', reason='cryptography is not installed here')
    if shutil.which('openssl') is None:
        pytest.skip('openssl is not installed')
    private, public = tmp_path / 'private.pem', tmp_path / 'public.pem'
    done = subprocess.run(['openssl', 'genpkey', '-algorithm', 'ed25519', '-out', str(private)],
                          capture_output=True, check=False)
    if done.returncode:
        pytest.skip('this openssl makes no Ed25519 keys')
    subprocess.run(['openssl', 'pkey', '-in', str(private), '-pubout', '-out', str(public)],
                   check=True, capture_output=True)
    ManifestVerifier(public).verify(tmp_path, MANIFEST, sign_manifest(private, MANIFEST))


def test_keys_that_cannot_be_used(keys, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric import ed25519
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.asymmetric import x25519
    private, public = keys
    problems = {}

    def collect(name, load):
        with pytest.raises(ConfigurationError) as caught:
            load()
        problems[name] = str(caught.value)
        assert '\n' not in problems[name]

    collect('halves exchanged, public', lambda: ManifestVerifier(private))
    collect('halves exchanged, private', lambda: sign_manifest(public, MANIFEST))
    assert 'remove the private key from this machine' in problems['halves exchanged, public']
    for kind, key in {'RSA': rsa.generate_private_key(65537, 2048),
                      'E': ec.generate_private_key(ec.SECP256R1()),
                      'X25519': x25519.X25519PrivateKey.generate()}.items():
        wrong_private, wrong_public = files.save_keys(key, tmp_path, kind)
        collect(f'{kind} private', lambda path=wrong_private: sign_manifest(path, MANIFEST))
        collect(f'{kind} public', lambda path=wrong_public: ManifestVerifier(path))
        for half in ('private', 'public'):
            assert f'key of type {kind}' in problems[f'{kind} {half}']
            assert f'expected an Ed25519 {half} key' in problems[f'{kind} {half}']
    locked = tmp_path / 'locked.pem'
    locked.write_bytes(ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b'secret')))
    collect('encrypted', lambda: sign_manifest(locked, MANIFEST))
    assert 'pass phrase' in problems['encrypted']
    junk = tmp_path / 'junk.pem'
    for content in (b'', b'hello', public.read_bytes()[:60], private.read_bytes()[:60] * 2,
                    public.read_bytes().replace(b'MCowBQ', b'AAAAAA')):
        junk.write_bytes(content)
        collect('junk', lambda: ManifestVerifier(junk))
        collect('junk', lambda: sign_manifest(junk, MANIFEST))
    collect('missing', lambda: ManifestVerifier(tmp_path / 'none.pem'))
    assert 'No such file' in problems['missing']


def test_without_cryptography_it_says_what_to_install(tmp_path):
    key = tmp_path / 'key.pem'
    key.write_text('-----BEGIN PUBLIC KEY-----\n')
    code = ('import sys\n'
            'from pathlib import Path\n'
            'sys.modules["cryptography"] = None\n'
            'from c7_inference_ros.engines.trust.signature import ManifestVerifier\n'
            'from c7_inference_ros.engines.trust.signature import sign_manifest\n'
            'from c7_inference_ros.errors import RuntimeNotAvailableError\n'
            'for use in (ManifestVerifier, lambda key: sign_manifest(key, b"")):\n'
            '    try:\n'
            '        use(Path(sys.argv[1]))\n'
            '    except RuntimeNotAvailableError as error:\n'
            '        print(error)\n')
    said = subprocess.run([sys.executable, '-c', code, str(key)], capture_output=True, text=True,
                          check=True).stdout.splitlines()
    assert len(said) == 2
    assert all('pip install cryptography' in line for line in said)
    assert RuntimeNotAvailableError.__name__ not in said
