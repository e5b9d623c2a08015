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

"""Model files and settings that cannot be: refused by configure in one line, and no more."""

from client import ERROR
from client import OK
from client import WARN
from graph import ROOT
from harness import dummy_model
from harness import dummy_parameters
import onnx
from onnx import helper
from onnx import TensorProto
import onnxruntime
import pytest

SHIPPED = ROOT / 'models' / 'person_ssdlite.onnx'


@pytest.fixture(scope='module')
def node(shared_ros):
    """Return a node that is told of one bad model after the other, and its client."""
    return shared_ros.start(dummy_parameters(dummy_model(shared_ros.folder / 'model.yaml')))


def pooling(path, shape=(1, 3, 32, 32), kind=TensorProto.FLOAT):
    """Write an ONNX model with an image input, and one output of a shape that no decoder has."""
    graph = helper.make_graph(
        [helper.make_node('GlobalAveragePool', ['images'], ['pooled'])], 'pooling',
        [helper.make_tensor_value_info('images', kind, shape)],
        [helper.make_tensor_value_info('pooled', kind, (*shape[:2], *[1] * (len(shape) - 2)))])
    onnx.save(helper.make_model(graph, ir_version=9,
                                opset_imports=[helper.make_opsetid('', 17)]), path)
    return path


def missing(folder):
    """Return a path where nothing is."""
    return {'path': folder / 'absent.onnx'}, ['models.detector.path', 'absent.onnx', 'no file']


def truncated(folder):
    """Return a model that was copied half."""
    path = folder / 'half.onnx'
    data = SHIPPED.read_bytes()
    path.write_bytes(data[:len(data) // 2])
    return {'path': path}, [str(path), 'copy']


def a_folder(folder):
    """Return a folder."""
    return {'path': folder}, [str(folder), 'is a folder', 'expected a model file']


def empty_file(folder):
    """Return a file of no bytes."""
    path = folder / 'empty.onnx'
    path.write_bytes(b'')
    return {'path': path}, [str(path), 'is empty']


def text_file(folder):
    """Return a file that is not ONNX."""
    path = folder / 'notes.onnx'
    path.write_text('this is no model at all\n' * 100)
    return {'path': path}, [str(path), 'ONNX']


def jpeg(folder):
    """Return a picture that was renamed."""
    path = folder / 'picture.onnx'
    path.write_bytes(b'\xff\xd8\xff\xe0' + bytes(5000))
    return {'path': path}, [str(path), 'ONNX']


def no_path(folder):
    """Return nothing."""
    return {'path': ''}, ['models.detector.path is empty', 'set it']


def no_decoder(folder):
    """Return a model with outputs that no decoder reads."""
    return {'path': pooling(folder / 'pool.onnx')}, [
        'models.detector.decoder', 'pooled float32 [1,3,1,1]']


def wrong_decoder(folder):
    """Return the shipped model with another decoder than its outputs fit."""
    return {'path': SHIPPED, 'decoder': 'yolox'}, [
        'models.detector.decoder is yolox', '2 outputs found', 'models.detector.decoder to ssd']


def no_image_input(folder):
    """Return a model that takes no image."""
    return {'path': pooling(folder / 'flat.onnx', (1, 3, 32))}, [
        'models.detector.path', 'images float32', 'expected one, the image']


def labels_of_another_length(folder):
    """Return 80 class names for one class."""
    return {'path': SHIPPED, 'decoder': 'ssd', 'labels': ROOT / 'config' / 'coco80.txt'}, [
        'models.detector.labels', 'coco80.txt', '80 names', 'expected 1']


def labels_missing(folder):
    """Return no class names."""
    return {'path': SHIPPED, 'decoder': 'ssd', 'labels': folder / 'absent.txt'}, [
        'models.detector.labels', 'absent.txt', 'no file']


def size_contradicts(folder):
    """Return an input size that the model does not have."""
    return {'path': SHIPPED, 'decoder': 'ssd', 'preprocess.width': 640}, [
        'models.detector.preprocess.width', '640', '300']


@pytest.mark.parametrize('make', [
    missing, truncated, a_folder, empty_file, text_file, jpeg, no_path, no_decoder,
    wrong_decoder, no_image_input, labels_of_another_length, labels_missing, size_contradicts])
def test_configure_refuses_in_one_line_and_works_after_a_correction(node, tmp_path, make):
    process, client = node
    settings, fragments = make(tmp_path)
    defaults = {'path': str(process.folder.parent / 'model.yaml'), 'decoder': 'auto',
                'labels': '', 'preprocess.width': 0}

    def configure_with(runtime, changes):
        values = {**defaults, **{name: value if isinstance(value, int) else str(value)
                                 for name, value in changes.items()}}
        results = client.set_parameters({'runtime': runtime, **{
            f'models.detector.{name}': value for name, value in values.items()}})
        assert all(successful for successful, _ in results), results
        return client.change_state('configure')

    process.mark()
    usage = process.usage()
    assert not configure_with('onnx_trt_ep', settings)
    assert client.state() == 'unconfigured'
    line, = process.lines('ERROR', 'FATAL', None)  # None: what has no logger's prefix
    assert line.startswith('[ERROR]')
    for fragment in fragments:
        assert fragment in line.partition(']: ')[2]
    client.wait(lambda: process.usage()[0] <= usage[0] + 1, 'the thread of the failure has ended')
    assert configure_with('dummy', {})
    camera, detections = client.camera(), client.detections()
    client.change_states('activate')
    assert camera.deliver(detections).detections
    client.change_states('deactivate', 'cleanup')
    camera.close()
    detections.close()


def test_diagnostics_say_why_the_node_is_not_further(scripted):
    process, client = scripted({}, {'models.detector.path': '/absent/model.yaml'},
                               transitions=())
    assert not client.change_state('configure')
    status = client.status('lifecycle', lambda status: status['last_error'])
    assert '/absent/model.yaml' in status['last_error']
    assert '/absent/model.yaml' in status.message
    assert (status['state'], status.level) == ('unconfigured', ERROR)
    path = dummy_model(process.folder / 'model.yaml')
    client.set('models.detector.path', str(path))
    client.change_states('configure')
    status = client.status('lifecycle', lambda status: status['state'] == 'inactive')
    assert (status['last_error'], status.level) == ('', OK)


def test_all_mistakes_of_all_models_are_told_at_once(ros, tmp_path):
    process, client = ros.start({
        'model_names': ['one', 'two'], 'runtime': 'onnx_trt_ep',
        'models.one.path': str(tmp_path / 'absent.onnx'),
        'models.two.path': str(pooling(tmp_path / 'pool.onnx')),
        'models.two.labels': str(tmp_path / 'absent.txt')})
    assert not client.change_state('configure')
    text = '\n'.join(process.lines('ERROR'))
    assert 'models.one.path' in text
    assert 'models.two.' in text


@pytest.mark.parametrize(('memory', 'budget', 'fragments'), [
    ({'device_bytes': 3 << 30}, {'memory.device_budget_bytes': 1 << 30},
     ['3072.0 MiB', '1024.0 MiB', 'device']),
    ({'host_bytes': 3 << 30}, {'memory.host_budget_bytes': 1 << 30},
     ['3072.0 MiB', '1024.0 MiB', 'host'])])
def test_a_model_over_the_budget_is_refused(scripted, memory, budget, fragments):
    process, client = scripted({'memory': memory}, budget, transitions=())
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    for fragment in (*fragments, 'model'):
        assert fragment in line
    client.set_parameters({name: 4 << 30 for name in budget})
    client.change_states('configure', 'activate')


def test_a_model_that_took_more_than_the_budget_is_refused_by_activate(scripted):
    process, client = scripted({'memory': {'device_bytes': 1 << 20,
                                           'measured_device_bytes': 2 << 30}},
                               {'memory.device_budget_bytes': 1 << 30},
                               transitions=('configure',))
    status = client.status('memory')
    assert int(status['device_predicted_bytes']) == 1 << 20
    assert int(status['device_measured_bytes']) == 2 << 30
    assert not client.change_state('activate')
    assert client.state() == 'inactive'
    line, = process.lines('ERROR')
    assert '2048.0 MiB' in line and '1024.0 MiB' in line
    client.change_states('cleanup')
    client.set('memory.device_budget_bytes', 4 << 30)
    client.change_states('configure', 'activate')
    drift = client.status('memory')
    assert 'predicted' in drift.message


def test_too_little_free_memory_is_refused_by_activate(scripted):
    process, client = scripted({}, {'memory.free_floor_bytes': 1 << 60},
                               transitions=('configure',))
    assert not client.change_state('activate')
    line, = process.lines('ERROR')
    assert 'free' in line
    assert client.state() == 'inactive'


def test_a_provider_that_does_not_load_is_refused_or_reported(ros):
    wanted = ['CUDAExecutionProvider', 'CPUExecutionProvider']
    if wanted[0] in onnxruntime.get_available_providers():
        pytest.skip('CUDAExecutionProvider is installed here')
    process, client = ros.start({
        'model_names': ['person'], 'execution_providers': wanted, 'allow_cpu_fallback': False,
        'models.person.path': str(SHIPPED), 'models.person.decoder': 'ssd',
        'memory.free_floor_bytes': 0})
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    assert 'CUDAExecutionProvider' in line and 'allow_cpu_fallback' in line
    client.set('allow_cpu_fallback', True)
    client.change_states('configure')
    status = client.status('lifecycle')
    assert status.level == WARN
    assert 'CUDAExecutionProvider' in status.message
    assert 'CPU' in status['runtime']
