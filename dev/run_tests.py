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
Run all tests of the package and sum them up.

The whole suite runs in the environment that this is called in: first the tests that need no ROS,
on all cores, then the others, which share the middleware of the machine, one by one. Those of the
core then run with NumPy 2, and on Python 3.10 with NumPy 1 as on a Jetson, but for those marked
`long`; those that build engines also with the API of TensorRT 10; and where the variable TORCH is
set to anything but 0, those that need PyTorch. Arguments go to pytest; with a file or
folder of tests among them, only these run, in one environment.
"""

from concurrent.futures import ThreadPoolExecutor
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Callable
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
REPORTS = ROOT / '.build' / 'test'
# The folders of tests that start nodes, or build what other tests use.
ONE_BY_ONE = ('demo', 'dev', 'launch', 'node')
# Whether a run was good, and its line of the summary.
Result = tuple[bool, str]
# The folders of tests that import neither ROS nor a message package.
CORE = ('config', 'doubles', 'engines', 'runtime', 'thermal', 'vision', 'pipeline')
NOT_HERE = 'its environment could not be built, see above'
# A hung middleware fails its test; no test of this package takes this long.
TIMEOUT_S = 300
NOTHING_COLLECTED = 5
CORES = len(os.sched_getaffinity(0))
# The small environments run so many at a time; their tests wait for one core each.
AT_A_TIME = min(2, CORES)
# What debuggers and captured output do not go together with: several processes.
ONE_PROCESS = ('-s', '--pdb', '--trace', '-n', '--capture=no')
# Where what a thread runs writes to; standard output when it has no file.
_output = threading.local()
_printing = threading.Lock()


def describe(python: str) -> str:
    """Return the versions that tell one run from another."""
    script = ('import sys, cv2, numpy\n'
              'print("Python", sys.version.split()[0] + ", NumPy", numpy.__version__ + ", OpenCV",'
              ' cv2.__version__)')
    return subprocess.run([python, '-c', script], check=True, text=True,
                          capture_output=True).stdout.strip()


def count(report: pathlib.Path) -> 'dict[str, int]':
    """Return how many tests passed, failed and were skipped, from pytest's report."""
    suite = ElementTree.parse(report).getroot().find('testsuite')
    if suite is None:
        return {'passed': 0, 'failed': 0, 'skipped': 0}
    total, failures, errors, skipped = (
        int(suite.get(key, 0)) for key in ('tests', 'failures', 'errors', 'skipped'))
    failed = failures + errors
    return {'passed': total - failed - skipped, 'failed': failed, 'skipped': skipped}


def run_suite(title: str, python: str, targets: 'list[str]',
              arguments: 'list[str]') -> Result:
    """Run pytest once; return whether it is good, and its line of the summary."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    report = REPORTS / f'{title.replace(" ", "_")}.xml'
    report.unlink(missing_ok=True)
    versions = describe(python)
    output = getattr(_output, 'file', None)
    print(f'\n=== {title}: {versions} ===', flush=True, file=output)
    started = time.monotonic()
    status = subprocess.run(
        [python, '-m', 'pytest', f'--timeout={TIMEOUT_S}', f'--junitxml={report}',
         '-o', f'cache_dir={REPORTS / "cache"}', *arguments, *targets],
        cwd=ROOT, env={**os.environ, 'PYTHONPATH': str(ROOT)}, stdin=subprocess.DEVNULL,
        stdout=output, stderr=output and subprocess.STDOUT).returncode
    seconds = time.monotonic() - started
    counts = count(report) if report.exists() else {}
    # An expression given with -k may match nothing in one of the runs; that is no failure.
    good = status == 0 or (status == NOTHING_COLLECTED and bool(arguments))
    found = ', '.join(f'{number} {kind}' for kind, number in counts.items() if number)
    return good, line('ok' if good else 'FAILED', title,
                      f'{found or f"pytest ended with {status}"}  ({versions}; {seconds:.0f} s)')


def line(verdict: str, title: str, text: str) -> str:
    """Return one line of the summary."""
    return f'{verdict:<8} {title:<26} {text}'


def main() -> int:
    """Run every suite; return 0 when all are good, else 1."""
    arguments = sys.argv[1:]
    if names_tests(arguments):
        results = [run_suite('all', sys.executable, [], arguments),
                   (True, line('skipped', 'core', 'tests were named: only these ran'))]
    else:
        folders = sorted(path.name for path in (ROOT / 'test').iterdir()
                         if any(path.glob('**/test_*.py')))
        core = [f'test/{name}' for name in CORE]
        first = [f'test/{name}' for name in folders if name not in ONE_BY_ONE]
        others = [f'test/{name}' for name in folders if name in ONE_BY_ONE]
        results = [run_suite('all without ROS', sys.executable, first,
                             [*workers(arguments), *arguments]),
                   run_suite('all with ROS', sys.executable, others, arguments)]
        jobs = [lambda: run_core('core with NumPy 2', 'numpy2', core, arguments),
                lambda: run_core('core on Python 3.10', 'py310', core, arguments),
                lambda: run_marked('builder API of TensorRT 10', 'rtx14',
                                   ['test/doubles', 'test/engines'], 'builder', arguments)]
        is_asked_for = os.environ.get('TORCH', '0') not in ('', '0')
        if is_asked_for:
            jobs.append(lambda: run_marked('runtimes with PyTorch', 'torch', ['test/runtime'],
                                           'torch', arguments))
        results += side_by_side(jobs)
        if not is_asked_for:
            results.append((True, line('skipped', 'runtimes with PyTorch',
                                       'not asked for: make test TORCH=1')))
    print('\n' + '\n'.join(text for _, text in results))
    good = all(is_good for is_good, _ in results)
    print('\nall tests passed' if good else '\nTESTS FAILED')
    return 0 if good else 1


def workers(arguments: 'list[str]') -> 'list[str]':
    """Return what lets pytest use every core; tests of one file stay in one process."""
    if CORES == 1 or any(argument.startswith(ONE_PROCESS) for argument in arguments):
        return []
    return ['-n', str(CORES), '--dist', 'loadfile']


def names_tests(arguments: 'list[str]') -> bool:
    """Return whether the arguments name test files or folders."""
    return any((ROOT / argument.partition('::')[0]).exists()
               for argument in arguments if argument.startswith('test'))


def side_by_side(jobs: list[Callable[[], Result]]) -> list[Result]:
    """Run jobs, :data:`AT_A_TIME`; print what each has written when it has ended."""
    print(f'\n{len(jobs)} more suites in environments of their own, {AT_A_TIME} at a time; each '
          f'is printed when it has ended', flush=True)

    def run(job: Callable[[], Result]) -> Result:
        with tempfile.TemporaryFile('w+', errors='replace') as file:
            _output.file = file
            try:
                return job()
            finally:
                file.seek(0)
                with _printing:
                    print(file.read(), end='', flush=True)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(run, jobs))


def run_core(title: str, name: str, targets: 'list[str]',
             arguments: 'list[str]') -> Result:
    """Build one of the small environments when needed and run the core's tests in it."""
    if name == 'py310' and sys.version_info[:2] == (3, 10):
        return True, line('skipped', title, 'the whole suite ran on Python 3.10')
    status = build(name)
    if status == 3:
        return True, line('skipped', title,
                          'no Python 3.10 on this machine (PYTHON310=path names one)')
    if status != 0:
        return False, line('FAILED', title, NOT_HERE)
    return run_suite(title, python_of(name), targets, ['-m', 'not long', *arguments])


def run_marked(title: str, name: str, targets: 'list[str]', mark: str,
               arguments: 'list[str]') -> Result:
    """Build an environment when needed and run the tests that have a mark in it."""
    if build(name) != 0:
        return False, line('FAILED', title, NOT_HERE)
    return run_suite(title, python_of(name), targets, ['-m', mark, *arguments])


def build(name: str) -> int:
    """Build an environment if it is not there; return the exit status."""
    output = getattr(_output, 'file', None)
    return subprocess.run([ROOT / 'dev' / 'build_env.sh', name], cwd=ROOT,
                          stdin=subprocess.DEVNULL, stdout=output,
                          stderr=output and subprocess.STDOUT).returncode


def python_of(name: str) -> str:
    """Return the interpreter of an environment."""
    return str(ROOT / f'.venv-{name}' / 'bin' / 'python')


if __name__ == '__main__':
    sys.exit(main())
