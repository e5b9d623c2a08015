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
Measure on this machine's GPU and write docs/gpu_results.md.

Without a GPU, its driver, PyCUDA and TensorRT nothing is measured and nothing is written: the
exit status is 2 and what is missing is named. 1 says that a figure is not within its limit.
"""

from __future__ import annotations

import argparse
from datetime import datetime
from datetime import timezone
from pathlib import Path
import shlex
import sys
import tempfile
from typing import Any
from typing import Callable
from typing import List
from typing import Sequence

ROOT = Path(__file__).resolve().parents[1]
for folder in (ROOT, ROOT / 'dev'):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from c7_inference_ros.thermal.conditions import record_conditions  # noqa: E402
from gpu_measure import page  # noqa: E402
from gpu_measure import presence  # noqa: E402
from gpu_measure.figures import Figure  # noqa: E402

PAGE = ROOT / 'docs' / 'gpu_results.md'
DETECTOR = ROOT / 'models' / 'person_ssdlite.onnx'
SHARED = ROOT.parent / 'shared' / 'models' / 'yolox_nano.onnx'
PROVIDERS = (('TensorrtExecutionProvider', 'CUDAExecutionProvider'), ('CUDAExecutionProvider',))


Groups = List[page.Group]


class DoubleError(Exception):
    """Figures of a test double were about to be written down."""


def subject_of(onnx: Path, precision: str, folder: Path, package: str = 'auto'
               ) -> tuple[Any, list[Figure]]:
    """Build an engine and return it as a subject, with the figures of the build."""
    from c7_inference_ros.engines.filename import parse_engine_name
    from c7_inference_ros.engines.types import BuildConfig
    from c7_inference_ros.engines.types import PrecisionMode
    from c7_inference_ros.runtime.memory_budget import MemoryBudget
    from c7_inference_ros.runtime.trt.runtime import TensorrtRuntime
    from gpu_measure import tensorrt_figures
    title = f'{onnx.stem}, {precision}'
    config = BuildConfig(precision=PrecisionMode(precision), output_dir=folder, package=package)
    builder = TensorrtRuntime(budget=MemoryBudget(1 << 36, 1 << 36), package=package)
    entry, figures = tensorrt_figures.build(
        lambda: builder.compile_engine(onnx, config), title)
    return tensorrt_figures.Subject(
        title, entry, onnx, precision, parse_engine_name(entry.path.name).package,
        TensorrtRuntime), figures


def measure(subject: Any, tell: Callable[[str], None] = lambda text: None, **rounds: int
            ) -> tuple[str, list[Figure]]:
    """Return (label, figures) of everything that is measured of one engine."""
    from gpu_measure import tensorrt_figures
    figures: list[Figure] = []
    for function in tensorrt_figures.MEASUREMENTS:
        tell(f'{subject.label}: {function.__name__}')
        figures += function(subject, **({'rounds': rounds[function.__name__]}
                                        if function.__name__ in rounds else {}))
    return subject.label, figures


def write_page(path: Path, text: str, subjects: Sequence[Any]) -> None:
    """
    Write the page.

    :raises DoubleError: one of the subjects is a test double.
    """
    doubles = [subject.title for subject in subjects if subject.is_double]
    if doubles:
        raise DoubleError(f'{", ".join(doubles)}: figures of a test double are not written down')
    path.write_text(text, encoding='utf-8')


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.strip().splitlines()[0])
    parser.add_argument('--model', type=Path, action='append',
                        help='ONNX model (default: the shipped detector, and yolox_nano where '
                             'it is)')
    parser.add_argument('--precision', nargs='+', default=['fp32', 'fp16'],
                        choices=['fp32', 'fp16', 'mixed'])
    parser.add_argument('--package', default='auto', choices=['auto', *presence.PACKAGES])
    parser.add_argument('--output', type=Path, default=PAGE)
    options = parser.parse_args(arguments)
    missing = presence.missing_for_tensorrt()
    if missing:
        print(f'nothing can be measured here: {missing}', file=sys.stderr)
        return 2
    models = options.model or [path for path in (DETECTOR, SHARED) if path.is_file()]
    groups: Groups = []
    subjects: list[Any] = []
    absent: list[str] = []

    def tell(text: str) -> None:
        print(f'  {text}', flush=True)

    with tempfile.TemporaryDirectory() as folder:
        for onnx in models:
            for precision in options.precision:
                tell(f'{onnx.stem}, {precision}: build')
                with record_conditions() as conditions:
                    subject, built = subject_of(onnx, precision, Path(folder), options.package)
                    label, figures = measure(subject, tell)
                subjects.append(subject)
                groups.append(page.Group(label, [*built, *figures],
                                         conditions.conditions().lines()))
            groups += fallbacks(onnx, absent, tell)
        groups += reference(Path(folder), absent, tell)
    command = f'{page.COMMAND} {shlex.join(sys.argv[1:])}'.strip()
    now = datetime.now(timezone.utc)
    write_page(options.output, page.results_page(
        command, f'{now:%Y-%m-%d}', page.environment(), groups, absent), subjects)
    print(f'{options.output} is written')
    return 0 if all(figure.is_good for group in groups for figure in group.figures) else 1


def fallbacks(onnx: Path, absent: list[str], tell: Callable[[str], None] = lambda text: None
              ) -> Groups:
    """Return (title, figures) of ONNX Runtime on the GPU; note in ``absent`` what is not here."""
    from gpu_measure.fallback_figures import fallback
    groups = []
    for providers in PROVIDERS:
        missing = presence.missing_for_onnx(providers[0])
        title = f'{onnx.stem}, onnx_trt_ep on {providers[0]}'
        if missing:
            absent.append(f'{title}: {missing}')
            continue
        tell(title)
        with record_conditions() as conditions:
            figures = fallback('onnx_trt_ep', onnx, onnx, 'fp32', execution_providers=providers,
                               allow_cpu_fallback=False)
        groups.append(page.Group(title, figures, conditions.conditions().lines()))
    return groups


def reference(folder: Path, absent: list[str],
              tell: Callable[[str], None] = lambda text: None) -> Groups:
    """Return (title, figures) of PyTorch in float16, with a network in both of its formats."""
    from gpu_measure.fallback_figures import fallback
    title = 'small network, pytorch_fp16'
    missing = presence.missing_for_torch()
    if missing:
        absent.append(f'{title}: {missing}')
        return []
    sys.path.insert(0, str(ROOT / 'test' / 'runtime'))
    import parity_model
    tell(title)
    with record_conditions() as conditions:
        figures = fallback(
            'pytorch_fp16', parity_model.as_program(folder / 'network.pt2'),
            parity_model.as_onnx(folder / 'network.onnx'), 'fp16', allow_cpu_fallback=False)
    return [page.Group(title, figures, conditions.conditions().lines())]


if __name__ == '__main__':
    sys.exit(main())
