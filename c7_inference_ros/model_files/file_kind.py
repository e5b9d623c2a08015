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

"""Recognising files that are often given in place of a model."""

_SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b'\x89PNG', 'a PNG image'), (0, b'\xff\xd8\xff', 'a JPEG image'),
    (0, b'PK\x03\x04', 'a ZIP archive, such as a PyTorch checkpoint'),
    (0, b'\x80\x02', 'a Python pickle, such as a PyTorch checkpoint'),
    (0, b'\x1f\x8b', 'a gzip archive'), (0, b'%PDF', 'a PDF document'),
    (0, b'\x7fELF', 'a program or library'),
    (0, b'\x89HDF', 'an HDF5 file, such as a Keras model'),
    (0, b'version https://git-lfs', 'a Git LFS pointer; run "git lfs pull"'),
    (0, b'ftrt', 'a TensorRT engine'), (0, b'ptrt', 'a TensorRT engine'),
    (4, b'TFL3', 'a TensorFlow Lite model'), (4, b'ORTM', 'a model in ORT format'),
    (4, b'ftyp', 'an MP4 video'), (0, b'RIFF', 'a RIFF file, such as an AVI video'))


def known_kind(data: bytes) -> str:
    """
    Say what a file is that is clearly no ONNX model.

    :param data: the file, or its beginning.
    :returns: with its article; an empty string when the bytes may be a model.
    """
    for offset, magic, kind in _SIGNATURES:
        if data.startswith(magic, offset):
            return kind
    head = data[:512]
    if all(byte in b'\t\n\r' or 32 <= byte < 127 for byte in head):
        return f'a text file beginning with {str(head[:24], "ascii").splitlines()[0]!r}'
    return ''
