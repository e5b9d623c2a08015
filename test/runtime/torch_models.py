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

"""Small real models in the formats of PyTorch, made by the tests that need them."""

import json
import warnings

import pytest

NEEDS_TORCH = 'torch is not installed here; run: make test TORCH=1'


def torch_or_skip():
    """Return the module torch; the test is skipped where it is not installed."""
    return pytest.importorskip('torch', reason=NEEDS_TORCH)


def describe(path, inputs, outputs, **more):
    """Write the description beside a model: (dtype, shape) by tensor name."""
    def listed(tensors):
        return [{'name': name, 'dtype': dtype, 'shape': shape}
                for name, (dtype, shape) in tensors.items()]
    path.with_name(f'{path.name}.json').write_text(json.dumps(
        {'inputs': listed(inputs), 'outputs': listed(outputs), **more}), encoding='utf-8')


def script(path, module, *examples):
    """Write a module as a TorchScript; return the path."""
    torch = torch_or_skip()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.jit.trace(module.eval(), examples, strict=False).save(str(path))
    return path


def export(path, module, *examples, **options):
    """Write a module as an exported program; return the path."""
    torch = torch_or_skip()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        torch.export.save(torch.export.export(module.eval(), examples, **options), str(path))
    return path


def scale_module():
    """Return y = 2 * x, total = the sum of y over the channels, as in runtime_models."""
    torch = torch_or_skip()

    class Scale(torch.nn.Module):

        def __init__(self):
            super().__init__()
            self.two = torch.nn.Parameter(torch.full((1, 3, 1, 1), 2.0))

        def forward(self, x):
            y = self.two * x
            return {'y': y, 'total': y.sum(dim=1)}

    return Scale()


def scale_script(path, batch=1, **more):
    """Write the scale model as a TorchScript with its description; x is float32 [n, 3, 4, 4]."""
    torch = torch_or_skip()
    describe(path, {'x': ('float32', [batch, 3, 4, 4])},
             {'y': ('float32', [batch, 3, 4, 4]), 'total': ('float32', [batch, 4, 4])}, **more)
    return script(path, scale_module(), torch.zeros(1, 3, 4, 4))


def scale_program(path, is_open=False):
    """Write the scale model as an exported program."""
    torch = torch_or_skip()
    if not is_open:
        return export(path, scale_module(), torch.zeros(1, 3, 4, 4))
    return export(path, scale_module(), torch.zeros(2, 3, 4, 4),
                  dynamic_shapes=({0: torch.export.Dim('n', max=64)},))
