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

"""Keeps exceptions inside lifecycle transitions, and remembers why one failed."""

from __future__ import annotations

import functools
import traceback
from typing import Callable
from typing import Protocol
from typing import Sequence

from c7_inference_ros.errors import C7Error
from c7_inference_ros.runtime.memory_budget import BudgetRow
from c7_inference_ros.runtime.memory_budget import format_table
from rclpy.impl.rcutils_logger import RcutilsLogger
from rclpy.lifecycle import LifecycleState
from rclpy.lifecycle import TransitionCallbackReturn

SUCCESS = TransitionCallbackReturn.SUCCESS
FAILURE = TransitionCallbackReturn.FAILURE
ERROR = TransitionCallbackReturn.ERROR


class TransitionNode(Protocol):
    """
    What a guarded transition needs of its node.

    :param last_error: why the last transition failed, or empty.
    :param refused_memory: the account of a model that did not fit, when that was why.
    """

    last_error: str
    refused_memory: Sequence[BudgetRow]

    def get_logger(self) -> RcutilsLogger:
        """Return the logger of the node."""


Transition = Callable[['TransitionNode', LifecycleState], TransitionCallbackReturn]


def guarded(transition: Transition) -> Transition:
    """
    Let no exception leave a transition.

    What a user can correct is FAILURE with one line for each problem; a bug is ERROR with its
    traceback, which most versions of rclpy would lose.
    """
    @functools.wraps(transition)
    def run(node: TransitionNode, state: LifecycleState) -> TransitionCallbackReturn:
        name = transition.__name__.removeprefix('on_')
        try:
            node.last_error = ''
            node.refused_memory = ()
            return transition(node, state)
        except C7Error as error:
            lines = getattr(error, 'problems', None) or (str(error),)
            for line in lines:
                node.get_logger().error(f'cannot {name}: {line}')
            node.last_error = f'cannot {name}: ' + '; '.join(lines)
            node.refused_memory = getattr(error, 'rows', ())
            for line in format_table(node.refused_memory) if node.refused_memory else ():
                node.get_logger().info(f'memory: {line}')
            return FAILURE
        except Exception as error:
            node.last_error = f'{name} met a bug: {type(error).__name__}: {error}'
            node.get_logger().error(f'{node.last_error}\n{traceback.format_exc()}')
            return ERROR
    return run
