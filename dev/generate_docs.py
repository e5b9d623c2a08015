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

"""Write docs/parameters.md from the records in c7_inference_ros/config.py."""

import argparse
from pathlib import Path
import re
import sys

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from c7_inference_ros.config import CameraConfig  # noqa: E402, I100
from c7_inference_ros.config import ModelConfig  # noqa: E402
from c7_inference_ros.config import NodeConfig  # noqa: E402
from c7_inference_ros.parameter_spec import Mutability  # noqa: E402
from c7_inference_ros.parameter_spec import ParameterSpec  # noqa: E402
from c7_inference_ros.parameter_spec import specs_of  # noqa: E402

HEAD = """# Parameters

*Generated from `c7_inference_ros/config.py` by `make docs`; do not edit.*

Cameras and models are lists of names; each name opens a group of its own. A YAML file says

```yaml
/**:
  ros__parameters:
    camera_names: [front]
    model_names: [person]
    cameras:
      front:
        image_topic: front/image_raw
    models:
      person:
        path: models/person_ssdlite.onnx
```

**Changes** says when a parameter may change: *read-only* ones only at start, *while unconfigured*
ones before `configure` (or after `cleanup`), the others *any time*, and they act on the next
frame. A refused change says why. A key in the YAML that is no parameter stops `configure`, with
the nearest name that is one. An array cannot be empty in ROS: `['']` stands for none, `['*']` for
every one.

The quality of service of each topic can be set with the standard `qos_overrides.<topic>.…`
parameters of ROS 2.
"""


def row(spec: ParameterSpec, prefix: str) -> str:
    """Return one line of the table."""
    default = list(spec.default) if spec.is_array else spec.default
    allowed = ', '.join(f'`{choice}`' for choice in spec.choices)
    low = '' if spec.minimum is None else f'{spec.minimum:g}'
    high = '' if spec.maximum is None else f'{spec.maximum:g}'
    if low or high:
        allowed = f'{low or "…"} to {high or "…"}'
    if spec.length:
        allowed = f'{allowed}; ' * bool(allowed) + f'{spec.length} elements'
    shown = str(default).lower() if isinstance(default, bool) else repr(default)
    # Angle brackets outside code would be taken for HTML.
    described = re.sub(r'([\w./]*<\w+>[\w./]*\w)', r'`\1`', spec.description)
    return (f'| `{prefix}{spec.name}` | {spec.type_name} | `{shown}` | {allowed} | {spec.unit} '
            f'| {_CHANGES[spec.mutability]} | {described} |')


_CHANGES = {Mutability.STRUCTURAL: 'read-only', Mutability.CONFIGURE: 'while unconfigured',
            Mutability.DYNAMIC: 'any time'}


def render() -> str:
    """Return the whole page."""
    lines = [HEAD]
    for title, prefix, kind in (('Node', '', NodeConfig),
                                ('Each camera', 'cameras.<name>.', CameraConfig),
                                ('Each model', 'models.<name>.', ModelConfig)):
        lines += [f'\n## {title}\n', '| Parameter | Type | Default | Allowed | Unit | Changes | |',
                  '|---|---|---|---|---|---|---|']
        lines += [row(spec, prefix) for spec in specs_of(kind)]
    return '\n'.join(lines) + '\n'


def main() -> int:
    """Write the page, or with --check only compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--check', action='store_true', help='only say whether it is current')
    page = ROOT / 'docs' / 'parameters.md'
    text = render()
    if parser.parse_args().check:
        if not page.is_file() or page.read_text(encoding='utf-8') != text:
            print('docs/parameters.md is out of date; run: make docs', file=sys.stderr)
            return 1
        return 0
    page.parent.mkdir(exist_ok=True)
    page.write_text(text, encoding='utf-8')
    print(f'wrote {page.relative_to(ROOT)}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
