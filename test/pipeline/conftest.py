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

"""The simulation of a hot board lives in dev/ and plants the boards of test/thermal."""

from pathlib import Path
import sys

BOARDS = Path(__file__).resolve().parents[1] / 'thermal'
if str(BOARDS) not in sys.path:
    sys.path.insert(0, str(BOARDS))
