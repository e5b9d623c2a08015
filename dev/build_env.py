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
Build an environment of the checkout from its lock file.

Called by ``dev/build_env.sh`` with the chosen interpreter; needs only the standard library. The
steps are a virtual environment, the pinned packages, vision_msgs, and a check that the result
works. What is finished is recorded by a stamp that is written last, so that an interrupted build
is taken up again and never taken for a whole one.
"""

import argparse
import fcntl
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Raise this when the steps below change what they leave behind.
RECIPE = 1
# Folder, lock file, whether ROS 2 is in it. A Jetson has Python 3.10 and NumPy 1.
ENVIRONMENTS = {
    'main': ('.venv', 'requirements.lock', True),
    'numpy2': ('.venv-numpy2', 'requirements-numpy2.lock', False),
    'py310': ('.venv-py310', 'requirements.lock', False),
    'rtx14': ('.venv-rtx14', 'requirements.lock', False),
    'torch': ('.venv-torch', 'requirements.lock', False),
}
# Environments that take from the main lock only what the other small one lists, and the lock file
# with what they have besides.
SUBSETS = {'py310': None, 'rtx14': 'requirements-rtx14.lock', 'torch': None}
# Environments with packages of a fixed version but without hashes: the builds of PyTorch for a CPU
# and for CUDA have one version and different files, and which one comes is the index's choice.
UNHASHED = {'torch': 'requirements-torch.txt'}
# The registry has no wheels of these; all are pure Python and build in a second.
FROM_SOURCE = ('empy', 'flake8-quotes', 'tensorrt-rtx-cu12')
CHECK = {
    True: 'import rclpy, vision_msgs.msg, sensor_msgs.msg, diagnostic_msgs.msg\n'
          'import colcon_core, cv2, onnxruntime, polygraphy, pytest, rosbags, tensorrt_rtx\n'
          'from rclpy.serialization import serialize_message\n'
          'serialize_message(vision_msgs.msg.Detection2DArray())',
    False: 'import cv2, numpy, onnxruntime, pytest, yaml',
}
CHECK_BESIDES = {'rtx14': 'import tensorrt_rtx', 'torch': 'import torch'}


class StepFailedError(Exception):
    """A step of the build failed; its output is in the log."""


class Progress:
    """One line per step with its seconds, alive while the step runs on a terminal."""

    def __init__(self) -> None:
        self.count = 0
        self._step = 0
        self._title = ''
        self._started = 0.0
        self._is_terminal = sys.stdout.isatty()

    def begin(self, title: str) -> None:
        self._step += 1
        self._title = f'  [{self._step}/{self.count}] {title} '.ljust(52, '.')
        self._started = time.monotonic()
        if not self._is_terminal:
            print(self._title, end='', flush=True)

    def tick(self, detail: str) -> None:
        if self._is_terminal:
            line = f'{self._title} {time.monotonic() - self._started:3.0f} s  {detail}'
            width = shutil.get_terminal_size().columns - 1
            print(f'\r{line[:width]}\033[K', end='', flush=True)

    def end(self, result: str = '') -> None:
        seconds = f' {time.monotonic() - self._started:3.0f} s{result}'
        print(f'\r{self._title}{seconds}\033[K' if self._is_terminal else seconds, flush=True)


def read_pins(lock: pathlib.Path) -> 'list[str]':
    """Return the requirements of a lock file, each with its hashes."""
    blocks = re.split(r'\n(?=[^\s])', lock.read_text())
    return [block for block in blocks if not block.startswith('#')]


def read_versions(path: pathlib.Path) -> 'list[str]':
    """Return the requirements of a file that pins versions only."""
    lines = (line.partition('#')[0].strip() for line in path.read_text().splitlines())
    return [line for line in lines if line]


def pin_name(pin: str) -> str:
    """Return the name of the package that a requirement pins."""
    return pin.partition('==')[0]


class Builder:
    """The build of one of ENVIRONMENTS, in place."""

    def __init__(self, name: str) -> None:
        folder, lock, self.has_ros = ENVIRONMENTS[name]
        self.name = name
        self.venv = ROOT / folder
        self.python = self.venv / 'bin' / 'python'
        self.pins = read_pins(ROOT / 'dev' / lock)
        if name in SUBSETS:
            core = {pin_name(p) for p in read_pins(ROOT / 'dev' / ENVIRONMENTS['numpy2'][1])}
            more = read_pins(ROOT / 'dev' / SUBSETS[name]) if SUBSETS[name] else []
            self.pins = [p for p in self.pins if pin_name(p) in core]
            self.pins += [p for p in more if pin_name(p) not in core]
        self.unhashed = (read_versions(ROOT / 'dev' / UNHASHED[name]) if name in UNHASHED else [])
        self.stubs = read_pins(ROOT / 'dev' / 'requirements-stubs.lock') if self.has_ros else []
        self.messages = ROOT / 'dev' / 'vision_msgs'
        self.build = ROOT / '.build' / 'env' / name
        self.log = self.build / 'build.log'
        self.progress = Progress()

    # -- what is finished --

    def packages_key(self) -> str:
        """Return the hash that the installed packages depend on."""
        digest = hashlib.sha256()
        # The path of the checkout is one of the parts: console scripts hold it.
        for part in (str(RECIPE), str(ROOT), sys.version, os.path.realpath(sys.executable)):
            digest.update(part.encode() + b'\0')
        digest.update('\n'.join(self.pins + self.stubs + self.unhashed).encode())
        return digest.hexdigest()

    def key(self) -> str:
        """Return the hash that the whole environment depends on."""
        digest = hashlib.sha256(self.packages_key().encode())
        if self.has_ros:
            for path in sorted(p for p in self.messages.rglob('*') if p.is_file()):
                digest.update(path.relative_to(self.messages).as_posix().encode() + b'\0')
                digest.update(path.read_bytes() + b'\0')
        return digest.hexdigest()

    def is_stamped(self, stamp: str, key: str) -> bool:
        try:
            record = json.loads((self.venv / stamp).read_text())
        except (OSError, ValueError):
            return False
        return record.get('key') == key and self.python.exists()

    def stamp(self, stamp: str, key: str) -> None:
        temporary = self.venv / f'{stamp}.part'
        record = {'key': key, 'python': sys.version.split()[0]}
        temporary.write_text(json.dumps(record) + '\n')
        os.replace(temporary, self.venv / stamp)

    # -- running things --

    def environment(self) -> 'dict[str, str]':
        """Return the caller's environment without a sourced ROS 2 and other Pythons."""
        drop = {'PYTHONPATH', 'PYTHONHOME', 'VIRTUAL_ENV', 'PIP_TARGET', 'PIP_PREFIX', 'PIP_USER',
                'AMENT_PREFIX_PATH', 'CMAKE_PREFIX_PATH', 'COLCON_PREFIX_PATH',
                'ROS_DISTRO', 'ROS_VERSION', 'ROS_PYTHON_VERSION',
                '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
        foreign = [p for p in os.environ.get('AMENT_PREFIX_PATH', '').split(':') if p]
        env = {k: v for k, v in os.environ.items() if k not in drop}
        for variable in ('PATH', 'LD_LIBRARY_PATH'):
            parts = [p for p in env.pop(variable, '').split(':')
                     if p and not any(p == f or p.startswith(f'{f}/') for f in foreign)]
            if parts:
                env[variable] = ':'.join(parts)
        env['PATH'] = f'{self.venv / "bin"}:{env.get("PATH", os.defpath)}'
        env['PIP_USER'] = '0'
        env['PYTHONNOUSERSITE'] = '1'
        if self.has_ros:
            wheels = sorted(self.venv.glob('lib/python3*/site-packages/ros_*.libs'))
            libraries = [str(self.venv / 'lib'), *map(str, wheels)]
            if 'LD_LIBRARY_PATH' in env:
                libraries.append(env['LD_LIBRARY_PATH'])
            env['LD_LIBRARY_PATH'] = ':'.join(libraries)
            env['_ROS_WHEELS_BOOTSTRAP_COMPLETE'] = '1'
            env['AMENT_PREFIX_PATH'] = str(self.venv)
        return env

    def run(self, *command: 'str | os.PathLike[str]') -> None:
        """Run a command with its output in the log, and raise StepFailedError when it fails."""
        with open(self.log, 'ab') as log:
            log.write(f'\n$ {" ".join(map(str, command))}\n'.encode())
            log.flush()
            process = subprocess.Popen(
                [str(part) for part in command], cwd=ROOT, env=self.environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
            try:
                while True:
                    try:
                        status = process.wait(timeout=0.5)
                        break
                    except subprocess.TimeoutExpired:
                        self.progress.tick(' '.join(self.last_lines(1)))
            except BaseException:
                process.terminate()
                process.wait()
                raise
        if status != 0:
            name = pathlib.Path(command[0]).name
            raise StepFailedError(f'{name} ended with exit status {status}')

    def last_lines(self, count: int) -> 'list[str]':
        with open(self.log, 'rb') as log:
            log.seek(max(0, self.log.stat().st_size - 200 * count - 2000))
            lines = log.read().decode(errors='replace').splitlines()
        return [line.strip('\r') for line in lines if line.strip()][-count:]

    # -- the steps --

    def create_venv(self) -> None:
        self.progress.begin('virtual environment')
        shutil.rmtree(self.venv, ignore_errors=True)
        self.run(sys.executable, '-I', '-m', 'venv', self.venv)
        self.progress.end()

    def install_packages(self) -> None:
        """Install the pins with pip, which honours the user's index, proxy and cache."""
        self.progress.begin('packages from the registry')
        # Packages without a wheel are built with the pinned setuptools, not with one that pip
        # fetches for them, so it goes in first.
        tools = [p for p in self.pins if pin_name(p) in ('setuptools', 'wheel')]
        pip = (self.python, '-m', 'pip', 'install', '--require-hashes', '--no-deps', '--no-input',
               '--disable-pip-version-check', '--progress-bar', 'off', '--only-binary', ':all:',
               '--no-compile')  # a third of the time; Python compiles what is imported
        for pins, place in ((tools, ()), (self.pins, ()),
                            (self.stubs, ('--target', self.venv / 'stubs', '--upgrade'))):
            if pins:
                requirements = self.build / 'requirements.txt'
                requirements.write_text('\n'.join(pins) + '\n')
                self.run(*pip, '--no-binary', ','.join(FROM_SOURCE), '--no-build-isolation',
                         *place, '-r', requirements)
        if self.unhashed:
            # With what they depend on, which differs between their builds, too.
            self.run(self.python, '-m', 'pip', 'install', '--no-input', '--no-compile',
                     '--disable-pip-version-check', '--progress-bar', 'off', '--only-binary',
                     ':all:', *self.unhashed)
        self.run(self.python, '-m', 'pip', '--disable-pip-version-check', 'check')
        self.repair_stubs()
        self.stamp('.packages', self.packages_key())
        count = len(list(self.venv.glob('lib/python3*/site-packages/*.dist-info')))
        self.progress.end(f'  {count} packages')

    def repair_stubs(self) -> None:
        """Mend the lines of TensorRT's generated stubs that are no Python."""
        for path in (self.venv / 'stubs').glob('tensorrt_bindings/*.pyi'):
            text = re.sub(r'\bin: list', 'in_: list', path.read_text())
            path.write_text(text.replace('channel_axis: int)', 'channel_axis: int = 0)'))

    def repoint_cmake_files(self) -> None:
        """Replace the include folders of the wheels' build machine in the cmake files by ours."""
        script = ('import numpy, sysconfig\n'
                  'print(sysconfig.get_path("include"), numpy.get_include(), sep="\\n")')
        python_include, numpy_include = subprocess.run(
            [str(self.python), '-c', script], env=self.environment(), check=True,
            text=True, capture_output=True).stdout.splitlines()
        theirs = r'/opt/python/cp\d+-cp\d+'
        python = re.compile(rf'{theirs}/include/python3\.\d+')
        numpy = re.compile(rf'{theirs}/lib/python3\.\d+/site-packages/numpy/_?core/include')
        for path in self.venv.glob('share/**/*.cmake'):
            text = path.read_text()
            if '/opt/python/' in text:
                text = numpy.sub(lambda _: numpy_include, text)
                path.write_text(python.sub(lambda _: python_include, text))

    def build_messages(self) -> None:
        self.progress.begin('vision_msgs')
        self.repoint_cmake_files()
        build = self.build / 'vision_msgs'
        shutil.rmtree(build, ignore_errors=True)
        cmake = self.venv / 'bin' / 'cmake'
        self.run(
            cmake, '-S', self.messages, '-B', build, '-G', 'Ninja',
            f'-DCMAKE_MAKE_PROGRAM={self.venv / "bin" / "ninja"}',
            f'-DCMAKE_PREFIX_PATH={self.venv}', f'-DCMAKE_INSTALL_PREFIX={self.venv}',
            f'-DPython3_EXECUTABLE={self.python}', '-DPython3_FIND_VIRTUALENV=ONLY',
            '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF')
        self.run(cmake, '--build', build, '--parallel', str(len(os.sched_getaffinity(0))))
        self.run(cmake, '--install', build)
        self.progress.end()

    def check(self) -> None:
        self.progress.begin('check that it works')
        self.run(self.python, '-c', CHECK[self.has_ros])
        if self.name in CHECK_BESIDES:
            self.run(self.python, '-c', CHECK_BESIDES[self.name])
        self.progress.end()

    def make(self) -> None:
        """Take up the build where it stands and finish it."""
        started = time.monotonic()
        self.build.mkdir(parents=True, exist_ok=True)
        with open(self.build / 'lock', 'w') as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print('another build of this environment is under way; waiting for it', flush=True)
                fcntl.flock(lock, fcntl.LOCK_EX)
            if self.is_stamped('.ready', self.key()):
                return
            self.log.write_bytes(b'')
            print(f'building {self.venv.name} with Python {sys.version.split()[0]} '
                  '(once, one to three minutes)', flush=True)
            (self.venv / '.ready').unlink(missing_ok=True)
            steps = [self.check]
            if self.has_ros:
                steps.insert(0, self.build_messages)
            if not self.is_stamped('.packages', self.packages_key()):
                steps[:0] = [self.create_venv, self.install_packages]
            self.progress.count = len(steps)
            for step in steps:
                step()
            self.stamp('.ready', self.key())
        seconds = time.monotonic() - started
        print(f'{self.venv.name} is ready after {seconds:.0f} s', flush=True)


def main() -> int:
    """Build the environment named on the command line; return the exit status."""
    parser = argparse.ArgumentParser(description='Build an environment of the checkout.')
    parser.add_argument('name', choices=sorted(ENVIRONMENTS))
    parser.add_argument('--is-ready', action='store_true',
                        help='build nothing; exit 0 if it is there and current, else 1')
    arguments = parser.parse_args()
    builder = Builder(arguments.name)
    if arguments.is_ready:
        return 0 if builder.is_stamped('.ready', builder.key()) else 1
    try:
        builder.make()
    except StepFailedError as error:
        print(' failed', flush=True)
        log = builder.log.relative_to(ROOT)
        print(f'\nmake env: {error}. The last lines of {log}:', file=sys.stderr)
        for line in builder.last_lines(12):
            print(f'    {line[:300]}', file=sys.stderr)
        print('Packages come by pip with its own settings (pip config list). After a repair run '
              'the same command again; what is finished is kept.', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nmake env: interrupted; run the same command again to go on', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
