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
The names of the doubles against the real thing, as far as it can be had here.

Every public name of a double exists in the real module: in what was read from the binding's
source, in the published stubs of TensorRT 10.x, and in the real TensorRT-RTX.
"""

import ast
import inspect
import json
from pathlib import Path

from engine_bench import real_rtx
import pycuda_double
from pycuda_double import make_pycuda
import pytest
from simulated_gpu import SimulatedGpu
from tensorrt_double import GENERATIONS
from tensorrt_double import make_tensorrt
from tensorrt_double import TEMPLATES
from trt_binding import EnumMember
from trt_binding import recorded_api

HERE = Path(__file__).parent
STUBS = HERE.parents[1] / '.venv' / 'stubs' / 'tensorrt_bindings' / 'tensorrt.pyi'
#: In every generation's binding, but not in the parts of the source that were read.
_LEVELS = {'Severity', 'ERROR', 'INFO', 'INTERNAL_ERROR', 'VERBOSE', 'WARNING'}
NOT_RECORDED = {'ILogger': _LEVELS, 'Logger': _LEVELS}


def public(kind):
    """Return the public names of a class."""
    return {name for name in vars(kind) if not name.startswith('_')}


@pytest.mark.parametrize('generation', GENERATIONS)
def test_a_double_has_only_names_of_its_generation(generation):
    record, module = recorded_api()[generation], make_tensorrt(generation)
    for template, _ in TEMPLATES:
        name = template.__name__
        assert hasattr(module, name) == (name in record['classes'])
        if hasattr(module, name):
            extra = public(getattr(module, name)) - set(record['classes'][name])
            assert not extra - NOT_RECORDED.get(name, set()), name
    for name, one in record['enums'].items():
        kind = module.ILogger.Severity if name == 'Severity' else getattr(module, name)
        assert {key: int(value) for key, value in kind.__members__.items()} == one['members']


def stub_names():
    """Return the public names of every class in the stubs."""
    if not STUBS.is_file():
        pytest.skip('the stubs of TensorRT 10.x are not here (.venv/stubs); run: make env')
    names = {}
    for one in ast.parse(STUBS.read_text(encoding='utf-8')).body:
        if isinstance(one, ast.ClassDef):
            names[one.name] = {
                member.target.id if isinstance(member, ast.AnnAssign) else member.name
                for member in one.body
                if isinstance(member, (ast.AnnAssign, ast.FunctionDef, ast.ClassDef))
                and not isinstance(getattr(member, 'target', None), ast.Attribute)}
    return names


def test_the_double_of_10_13_has_only_what_the_stubs_have():
    stubs, module = stub_names(), make_tensorrt('10.13')
    # The stubs leave out what can only be written.
    write_only = {'Runtime': {'gpu_allocator'}, 'Builder': {'gpu_allocator'},
                  'IExecutionContext': {'device_memory'}}
    for template, _ in TEMPLATES:
        name = template.__name__
        if hasattr(module, name):
            missing = public(getattr(module, name)) - stubs[name] - write_only.get(name, set())
            assert not missing - NOT_RECORDED.get(name, set()), name
    for name, kind in vars(module).items():
        if isinstance(kind, type) and issubclass(kind, EnumMember):
            assert set(kind.__members__) <= stubs[name], name


def test_arguments_of_the_double_of_10_13_are_named_as_in_the_stubs():
    stub_names()
    classes = {one.name: one for one in ast.parse(STUBS.read_text(encoding='utf-8')).body
               if isinstance(one, ast.ClassDef)}
    module, compared = make_tensorrt('10.13'), 0
    for template, _ in TEMPLATES:
        name = template.__name__
        if not hasattr(module, name):
            continue
        for member in classes[name].body:
            own = vars(getattr(module, name)).get(getattr(member, 'name', ''))
            is_overload = any('overload' in ast.unparse(one)
                              for one in getattr(member, 'decorator_list', ()))
            if not isinstance(member, ast.FunctionDef) or not inspect.isfunction(own) or (
                    is_overload or member.name.startswith('_')):
                continue
            expected = [one.arg for one in member.args.args]
            found = list(inspect.signature(own).parameters)
            assert found == expected, f'{name}.{member.name}'
            compared += 1
    assert compared > 100


def test_the_double_of_rtx_has_only_what_the_real_one_has():
    real, generation = real_rtx()
    module = make_tensorrt(generation)
    assert module.__version__ == real.__version__
    for template, _ in TEMPLATES:
        name = template.__name__
        assert hasattr(module, name) == hasattr(real, name), name
        if hasattr(module, name):
            assert public(getattr(module, name)) <= set(dir(getattr(real, name))), name
    for name, kind in vars(module).items():
        if isinstance(kind, type) and issubclass(kind, EnumMember):
            members = {key: int(value) for key, value in kind.__members__.items()}
            assert members == {key: int(value) for key, value
                               in getattr(real, name).__members__.items()}, name


def test_the_pycuda_double_has_only_names_of_pycuda():
    record = json.loads((HERE / 'pycuda_api.json').read_text(encoding='utf-8'))
    module = make_pycuda(SimulatedGpu())
    known = {*record['functions'], *record['enums'], *record['classes'], *record['exceptions'],
             'HostAllocation'}
    assert {name for name in vars(module) if not name.startswith('_')} <= known
    for name, arguments in record['functions'].items():
        function = getattr(module, name, None)
        if function is not None:
            named = [one.name for one in inspect.signature(function).parameters.values()
                     if one.kind is not one.POSITIONAL_ONLY]
            assert named == arguments, name
    for name, one in record['classes'].items():
        kind = getattr(module, name)
        names = {key for part in kind.__mro__ for key in vars(part) if not key.startswith('_')}
        inherited = record['classes']['HostPointer'] if name.startswith('Page') else one
        assert names <= {*one['methods'], *inherited['methods'], 'owner'}, name
        for static in one['static']:
            assert not hasattr(kind, static) or callable(getattr(kind, static))
    for name, members in record['enums'].items():
        kind = getattr(pycuda_double, name)
        assert {key for key in dir(kind) if key.isupper()} <= set(members), name
