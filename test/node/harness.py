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

"""Puts a node and its client into a graph of their own, and scripted models on the disk."""

from client import Client
from graph import Domain
from graph import ROOT
from node_process import NODE
from node_process import NodeProcess
from node_process import QUICK_COMMAND
import pytest
import yaml

#: What the scripted model finds in every image: x1, y1, x2, y2, score, class.
BOXES = [[8, 6, 24, 30, 0.9, 0], [30, 10, 50, 40, 0.6, 1]]
NAMES = ('person', 'car', 'dog')


def dummy_model(path, names=NAMES, **script):
    """
    Write a scripted model of 64x48 pixels that finds :data:`BOXES`, and return its path.

    :param script: other entries of the script, as config/dummy_model.yaml explains them.
    """
    path.write_text(yaml.safe_dump({
        'inputs': [{'name': 'images', 'shape': [1, 3, 48, 64]}],
        'outputs': [{'name': 'output0', 'shape': [1, 8, 6]}],
        'detections': BOXES,
        'metadata': {'names': str(dict(enumerate(names)))},
        **script}, sort_keys=False))
    return path


def dummy_parameters(path, **others):
    """Return the parameters of a node that plays a script; dots in names are double lines."""
    return {'runtime': 'dummy', 'models.detector.path': str(path),
            'memory.free_floor_bytes': 0,
            **{name.replace('__', '.'): value for name, value in others.items()}}


class Graph:
    """
    A domain, the processes in it and a client; closed as a whole.

    :param folder: where files lie.
    """

    def __init__(self, folder):
        """Take a domain."""
        self.folder = folder
        self.domain = Domain()
        self.processes = []
        self._clients = []
        self.allows_bugs = False

    def start(self, parameters, *arguments, name=f'/{NODE}', **options):
        """
        Start a node, wait for it and return it with a client.

        :param parameters: value by dotted name.
        :param arguments: more of what follows ``--ros-args``.
        :param name: the fully qualified name that it will have.
        """
        process = self.start_process(parameters, *arguments, **options)
        client = self.join(name, process)
        client.state()
        return process, client

    def start_process(self, parameters, *arguments, is_quick=False, **options):
        """Start a node, one whose diagnostics come ten times a second where wanted."""
        folder = self.folder / f'node{len(self.processes)}'
        folder.mkdir()
        if is_quick:
            options['command'] = QUICK_COMMAND
        process = NodeProcess(folder, self.domain.id, parameters, arguments, **options)
        self.processes.append(process)
        return process

    def join(self, name=f'/{NODE}', process=None):
        """Return a client; while it waits, it looks after a process."""
        def check():
            assert process is None or process.exit_code is None, (
                f'the node ended with {process.exit_code}')

        client = Client(self.domain.id, name, check)
        self._clients.append(client)
        return client

    def close(self):
        """End everything; what must be true of every run is checked here."""
        accounts = []
        for client in self._clients:
            accounts += [status for statuses in client.statuses() for status in statuses.values()]
            client.close()
        stuck = [process.log for process in self.processes if process.end()]
        self.domain.close()
        assert not stuck, f'had to be killed: {stuck}'
        for status in accounts:
            if ': model ' in status.name:
                balances = status.balance()
                assert not any(balances.values()), f'frames are lost: {balances} in {status}'
        for process in self.processes:
            text = process.text()
            for word in ('Traceback', 'is a bug', 'met a bug', 'terminate called'):
                assert self.allows_bugs or word not in text, f'{word!r} in the log of the node'

    def logs(self):
        """Return what the nodes have written, for the report of a failure."""
        return '\n'.join(f'--- {process.log.name} of {" ".join(process.command)}\n'
                         f'{process.text()}' for process in self.processes)


def shared_picture(name):
    """Return a picture of the test inputs, bgr8; skip by name where they are absent."""
    import cv2
    path = ROOT.parent / 'shared' / 'data' / 'coco_val_subset' / 'images' / name
    pixels = cv2.imread(str(path)) if path.is_file() else None
    if pixels is None:
        pytest.skip(f'../shared/data/coco_val_subset/images/{name} is not here')
    return pixels


def boxes_of(array):
    """Return [x1, y1, x2, y2, score, class id] of every detection of an array."""
    rows = []
    for detection in array.detections:
        box, (result,) = detection.bbox, detection.results
        x, y = box.center.position.x, box.center.position.y
        rows.append([x - box.size_x / 2, y - box.size_y / 2, x + box.size_x / 2,
                     y + box.size_y / 2, result.hypothesis.score,
                     int(result.hypothesis.class_id)])
    return rows
