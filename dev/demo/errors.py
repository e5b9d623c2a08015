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

"""Why the demo stops."""


class DemoError(Exception):
    """
    The demo cannot go on.

    :param message: one line: what, what was found, what to do next.
    :param exit_code: 1 where the answer is no, 2 for bad input.
    :param details: further lines, such as the last ones of the node's log.
    """

    def __init__(self, message, exit_code=1, details=()):
        """Keep the exit code and the details for the caller that prints them."""
        super().__init__(message)
        self.exit_code = exit_code
        self.details = tuple(details)
