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

"""docs/gpu_results.md: what was measured, with the command, the device and the versions."""

from __future__ import annotations

from importlib import metadata
import platform
import subprocess
from typing import Mapping
from typing import NamedTuple
from typing import Sequence

from gpu_measure.figures import Figure

COMMAND = 'python3 dev/gpu_results.py'
_TITLE = '# GPU results'
_PACKAGES = ('tensorrt', 'tensorrt-rtx-cu12', 'tensorrt-rtx-cu13', 'pycuda', 'onnxruntime',
             'onnxruntime-gpu', 'torch', 'numpy')
_DEVICE = 'name,driver_version,compute_cap,memory.total'


class Group(NamedTuple):
    """
    Figures of one engine or runtime, and in which conditions they were measured.

    :param conditions: the lines of MeasurementConditions.
    """

    title: str
    figures: Sequence[Figure]
    conditions: Sequence[str]


def unmeasured_page() -> str:
    """Return the page as it is before anybody measured."""
    return f"""{_TITLE}

**Nothing was measured yet.** This project was developed on machines without an NVIDIA GPU: there
the tests marked `gpu` are skipped, each with what is missing, and the order of calls and the
handling of failures are tested on doubles of TensorRT and PyCUDA. No figure of a double is a
figure of a GPU, so that none stands here.

On a machine with a GPU, its driver, PyCUDA and TensorRT, this page is written by

```console
$ {COMMAND}
```

which takes some minutes. It measures building; deserialising (p95 at most 5 s); inference against
the raw engine loop; the gain of the CUDA graph; predicted against measured device memory (within
10 %); 10,000 inferences with flat memory; the refusal of an engine over budget, which leaves the
free memory as it was; outputs against ONNX Runtime in float32, with a tolerance by precision; and
`onnx_trt_ep` and `pytorch_fp16` where they are installed. The same checks as tests:

```console
$ python3 -m pytest -m gpu test
```
"""


def environment() -> dict[str, str]:
    """Return what the figures depend on, by name."""
    found = {'machine': platform.platform(), 'Python': platform.python_version()}
    try:
        done = subprocess.run(['nvidia-smi', f'--query-gpu={_DEVICE}', '--format=csv,noheader'],
                              capture_output=True, text=True, timeout=20, check=False)
        if done.returncode == 0:
            found[f'GPU ({_DEVICE.replace(",", ", ")})'] = done.stdout.strip().replace('\n', '; ')
    except (OSError, subprocess.TimeoutExpired):
        pass
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def results_page(command: str, when: str, versions: Mapping[str, str],
                 groups: Sequence[Group],
                 missing: Sequence[str] = ()) -> str:
    """
    Return the page for measured figures.

    :param command: exactly how they were made.
    :param when: date.
    :param versions: of :func:`environment`.
    :param groups: of each engine and runtime.
    :param missing: what could not be measured, and why.
    :raises ValueError: nobody knows in which conditions a group was measured.
    """
    bare = [group.title for group in groups if not group.conditions]
    if bare:
        raise ValueError(f'{", ".join(bare)}: figures without their conditions, record them with'
                         ' thermal/conditions.py')
    good = all(figure.is_good for group in groups for figure in group.figures)
    lines = [_TITLE, '', f'Measured on {when} with', '', '```console', f'$ {command}', '```', '',
             'Every figure is within its limit.' if good else
             '**Not every figure is within its limit**; those that are not are marked.', '',
             '| | |', '|---|---|', *(f'| {name} | {value} |' for name, value in versions.items())]
    for group in groups:
        lines += ['', f'## {group.title}', '', 'Measured with', '',
                  *(f'- {line}' for line in group.conditions), '',
                  '| what | measured | limit | |', '|---|---|---|---|']
        lines += [_row(figure) for figure in group.figures]
    if missing:
        lines += ['', '## Not measured', '', *(f'- {text}' for text in missing)]
    return '\n'.join(lines) + '\n'


def _row(figure: Figure) -> str:
    limit = '' if figure.limit is None else f'{figure.limit:g} {figure.unit}'.strip()
    value = figure.text if figure.is_good else f'**{figure.text}**'
    return f'| {figure.what} | {value} | {limit} | {figure.note.replace("|", "/")} |'
