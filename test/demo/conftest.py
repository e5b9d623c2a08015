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

"""The demo's modules live beside its entry, in dev/."""

from pathlib import Path
import sys

import pytest

ROOT = Path(__file__).resolve().parents[2]
for folder in (ROOT, ROOT / 'dev'):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


@pytest.fixture(scope='session')
def clip_file():
    """Return the clip; skip where the registry is out of reach."""
    from demo import clip
    from demo.errors import DemoError
    try:
        return clip.obtain_clip(ROOT / '.build' / 'demo')
    except DemoError as error:
        pytest.skip(f'{clip.REQUIREMENT} cannot be fetched: {error}')
