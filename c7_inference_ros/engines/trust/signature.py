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
Ed25519 signatures of engine manifests, for folders that others can write.

``<engine>.sig`` holds the 64 bytes of the signature as 128 lowercase hex characters and nothing
else. What is signed are the bytes of the manifest, which holds the hash of the engine. Keys are
PEM files, as OpenSSL makes them:

.. code-block:: text

    openssl genpkey -algorithm ed25519 -out fleet_private.pem     (stays where engines are built)
    openssl pkey -in fleet_private.pem -pubout -out fleet_public.pem     (goes onto the vehicles)
"""

from __future__ import annotations

import importlib
from pathlib import Path
import re
from typing import TYPE_CHECKING

from c7_inference_ros.errors import ConfigurationError
from c7_inference_ros.errors import EngineHashMismatchError
from c7_inference_ros.errors import RuntimeNotAvailableError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

SIGNATURE_SUFFIX = '.sig'
#: More than this is never read of a signature or a key.
SIGNATURE_MAX_BYTES = 4096
_KEY_MAX_BYTES = 1 << 16
_SIGNATURE = re.compile(rb'([0-9a-f]{128})\n?')
_MAKE = 'make a pair with: openssl genpkey -algorithm ed25519'


class ManifestVerifier:
    """
    Checks signatures with one public key.

    :param public_key: PEM file.
    :raises ConfigurationError: it holds no Ed25519 public key.
    :raises RuntimeNotAvailableError: ``cryptography`` is not installed.
    """

    def __init__(self, public_key: Path) -> None:
        """Load the key, so that a wrong one is found before any engine is."""
        self.path = public_key
        self._key = load_public_key(public_key)

    def verify(self, path: Path, manifest: bytes, signature: bytes) -> None:
        """
        Accept the signature of a manifest, or refuse.

        :param path: the signature file, for the message.
        :param manifest: the bytes of the manifest.
        :param signature: the bytes of the signature file.
        :raises EngineHashMismatchError: it is not the signature of these bytes; stage
            ``signature``.
        """
        from cryptography.exceptions import InvalidSignature
        match = _SIGNATURE.fullmatch(signature)
        if match is None:
            raise EngineHashMismatchError(
                f'{path} holds {len(signature)} bytes that are no signature, expected 128 '
                f'lowercase hex characters and nothing else; copy it again, or sign the engine '
                f'again', stage='signature')
        try:
            self._key.verify(bytes.fromhex(match[1].decode()), manifest)
        except InvalidSignature as error:
            raise EngineHashMismatchError(
                f'{path} is no signature of the manifest beside it by the key in {self.path}; the '
                f'manifest was changed or another key signed it: take the engine, its manifest '
                f'and its signature from a source you trust', stage='signature') from error


def sign_manifest(private_key: Path, manifest: bytes) -> bytes:
    """
    Sign the bytes of a manifest; return the bytes of the signature file.

    :param private_key: PEM file, without a pass phrase.
    :raises ConfigurationError: it holds no Ed25519 private key.
    :raises RuntimeNotAvailableError: ``cryptography`` is not installed.
    """
    return load_private_key(private_key).sign(manifest).hex().encode()


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """
    Load the key that signs.

    :raises ConfigurationError: it holds no Ed25519 private key, or wants a pass phrase.
    :raises RuntimeNotAvailableError: ``cryptography`` is not installed.
    """
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    pem = _read_key(path)
    if b'PUBLIC KEY-----' in pem and b'PRIVATE KEY-----' not in pem:
        raise ConfigurationError(
            f'signing key {path} holds a public key, expected an Ed25519 private key; give the '
            f'private half, or {_MAKE}')
    try:
        key = load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise ConfigurationError(
            f'signing key {path} is encrypted with a pass phrase, expected a plain PEM file; '
            f'decrypt it with: openssl pkey -in {path.name}') from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key('signing key', path, 'Ed25519 private key', error) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise _wrong_kind('signing key', path, 'Ed25519 private key', key)
    return key


def load_public_key(path: Path) -> Ed25519PublicKey:
    """
    Load the key that verifies.

    :raises ConfigurationError: it holds no Ed25519 public key.
    :raises RuntimeNotAvailableError: ``cryptography`` is not installed.
    """
    _require_library()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    pem = _read_key(path)
    if b'PRIVATE KEY-----' in pem:
        raise ConfigurationError(
            f'engines.public_key {path} holds a private key, expected an Ed25519 public key; '
            f'remove the private key from this machine, and give its public half: openssl pkey '
            f'-in {path.name} -pubout')
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _no_key('engines.public_key', path, 'Ed25519 public key', error) from error
    if not isinstance(key, Ed25519PublicKey):
        raise _wrong_kind('engines.public_key', path, 'Ed25519 public key', key)
    return key


def _require_library() -> None:
    try:
        importlib.import_module('cryptography.hazmat.primitives.asymmetric.ed25519')
    except ImportError as error:
        raise RuntimeNotAvailableError(
            f'signatures of engines need the Python package cryptography, which does not import '
            f'({error}); install it: apt-get install python3-cryptography, or pip install '
            f'cryptography') from error


def _read_key(path: Path) -> bytes:
    try:
        with open(path, 'rb') as file:
            return file.read(_KEY_MAX_BYTES)
    except OSError as error:
        raise ConfigurationError(
            f'key {path} cannot be read: {error.strerror or error}; correct the path, or {_MAKE}'
        ) from error


def _no_key(what: str, path: Path, expected: str, error: Exception) -> ConfigurationError:
    reason = ' '.join(str(error).split()) or type(error).__name__
    return ConfigurationError(
        f'{what} {path} cannot be read as PEM ({reason}), expected an {expected}; {_MAKE}')


def _wrong_kind(what: str, path: Path, expected: str, key: object) -> ConfigurationError:
    return ConfigurationError(
        f'{what} {path} holds a key of type {type(key).__name__.lstrip("_")}, expected an '
        f'{expected}; {_MAKE}')
