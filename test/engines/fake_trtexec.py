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
A trtexec that behaves as the real one is documented to, bad manners included.

It answers with status 0 to no arguments and to --help, with 1 to an option that its version does
not know, writes its engine piece by piece into the place itself, runs the engine afterwards unless
told not to, and calibrates with random numbers when it has no cache. ``DOES`` in its environment
makes it fail in one of the ways in which programs do.
"""

import os
import sys

_COMMON = """--onnx --saveEngine --skipInference --memPoolSize --builderOptimizationLevel
--profilingVerbosity --noTF32 --minShapes --optShapes --maxShapes --profile --timingCacheFile
--hardwareCompatibilityLevel --stronglyTyped --verbose --help --shapes --device --loadEngine"""
_ONLY_10 = '--fp16 --int8 --bf16 --best --calib --precisionConstraints --layerPrecisions ' \
           '--layerOutputTypes'

_SCRIPT = r'''#!{python}
import json, os, signal, struct, sys, time
NUMBER, BUILD, OPTIONS, RTX, HERE = {number}, {build}, {options!r}, {rtx}, {here!r}
version = [NUMBER // 10000, NUMBER // 100 % 100, NUMBER % 100, BUILD or 30]
name = 'TensorRT.' + os.path.basename(sys.argv[0])
build = f' [b{{BUILD}}]' if BUILD else ''
banner = f'{{name}} [TensorRT v{{NUMBER}}]{{build}} # {{" ".join(sys.argv)}}'
print('&&&& RUNNING', banner, flush=True)
does = os.environ.get('DOES', '')


def end(code):
    print('&&&& PASSED' if code == 0 else '&&&& FAILED', banner, flush=True)
    sys.exit(code)


def help():
    print('=== Build Options ===')
    for option in OPTIONS:
        print(f'  {{option}}    something about it (default = none)')


given = {{}}
for argument in sys.argv[1:]:
    option, _, value = argument.partition('=')
    given.setdefault(option, []).append(value)
if not given or '--help' in given:
    help()
    sys.exit(0)
unknown = [option for option in given if option not in OPTIONS]
if unknown:
    help()
    for option in unknown:
        print(f'[11/24/2026-00:00:00] [E] Unknown option: {{option}}')
    end(1)
with open(os.path.join(HERE, 'arguments.json'), 'w') as file:
    json.dump(sys.argv[1:], file)


def plan():
    size = 5000
    head = bytearray(64)
    head[0:4] = head[28:32] = b'vtrt' if RTX else b'ftrt'
    struct.pack_into('<Q', head, 16, size)
    head[24:28] = bytes(version if does != 'other' else [9, 9, 9, 9])
    return bytes(head) + b'x' * (size - len(head))


def child():
    """Leave a process behind that does not listen, and that holds the output open."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        with open(os.path.join(HERE, 'child.tmp'), 'w') as file:
            file.write(str(os.getpid()))
        os.rename(os.path.join(HERE, 'child.tmp'), os.path.join(HERE, 'child'))
        while True:
            time.sleep(1)
    while not os.path.exists(os.path.join(HERE, 'child')):
        time.sleep(0.01)


print('[11/24/2026-00:00:00] [I] === Model Options ===')
with open(given['--onnx'][0], 'rb') as file:
    if not file.read(1):
        print('[11/24/2026-00:00:00] [E] Failed to parse onnx file')
        end(1)
if '--int8' in given and not given.get('--calib'):
    print('[11/24/2026-00:00:00] [I] Calibrating with random numbers')
print('[11/24/2026-00:00:00] [W] [TRT] A warning of the builder')
data = plan()
with open(given['--saveEngine'][0], 'wb') as file:
    file.write(data[:100])
    file.flush()
    if does == 'alone':
        with open(os.path.join(HERE, 'child'), 'w') as leader:
            leader.write(str(os.getpid()))
        while True:
            time.sleep(1)
    if does == 'hang':
        child()
        while True:
            time.sleep(1)
    if does == 'deaf':
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child()
        while True:
            time.sleep(1)
    if does in ('SIGKILL', 'SIGSEGV', 'SIGABRT'):
        os.kill(os.getpid(), getattr(signal, does))
    file.write(data[100:] if does != 'cut' else b'')
if does == 'nothing':
    os.unlink(given['--saveEngine'][0])
    end(0)
for cache in given.get('--timingCacheFile', []):
    with open(cache, 'ab') as file:
        file.write(b'timings;')
if does == 'late' or '--skipInference' not in given:
    print('[11/24/2026-00:00:00] [E] Error[1]: [runner.cpp::run::42] the benchmark failed')
    end(1)
if does == 'orphan':
    child()
end(0)
'''


def install(folder, number=100300, build=None, name='trtexec', without=()):
    """
    Write the program and return its path.

    :param number: version as its banner has it, 100300 for 10.3.0.
    :param build: build number, which older ones do not print.
    :param name: ``tensorrt_rtx`` for the one of TensorRT-RTX.
    :param without: options that it does not know.
    """
    is_rtx = name == 'tensorrt_rtx'
    options = _COMMON.split() + (_ONLY_10.split() if number < 110000 and not is_rtx else [])
    path = folder / name
    path.write_text(_SCRIPT.format(
        python=sys.executable, number=number, build=build, rtx=is_rtx, here=str(folder),
        options=[option for option in options if option not in without]))
    os.chmod(path, 0o755)
    return path
