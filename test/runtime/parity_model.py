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
One small network, written down once in NumPy and handed to every runtime in its own format.

Conv, BatchNorm, ReLU, Conv, Add, ReLU, MaxPool, global average, Gemm: what detectors are made of.
"""

import numpy as np
from runtime_models import node
from runtime_models import save
from torch_models import describe
from torch_models import export
from torch_models import script
from torch_models import torch_or_skip

IMAGE, FEATURES, SCORES = (1, 3, 16, 16), (1, 8, 8, 8), (1, 5)
EPSILON = 1e-5


def weights():
    """Return the weights by name; always the same."""
    random = np.random.default_rng(7)

    def normal(*shape, scale):
        return (random.standard_normal(shape) * scale).astype(np.float32)

    return {'conv1.weight': normal(8, 3, 3, 3, scale=0.3), 'conv1.bias': normal(8, scale=0.1),
            'bn.weight': 1 + normal(8, scale=0.1), 'bn.bias': normal(8, scale=0.1),
            'bn.mean': normal(8, scale=0.2), 'bn.var': 1 + random.random(8).astype(np.float32),
            'conv2.weight': normal(8, 8, 3, 3, scale=0.2), 'conv2.bias': normal(8, scale=0.1),
            'fc.weight': normal(5, 8, scale=0.5), 'fc.bias': normal(5, scale=0.1)}


def picture(seed):
    """Return an input."""
    return np.random.default_rng(seed).standard_normal(IMAGE).astype(np.float32)


def in_numpy(image):
    """Return (features, scores) in double precision: what everything else is compared with."""
    w = {name: value.astype(np.float64) for name, value in weights().items()}

    def conv(x, weight, bias):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        return np.einsum('cyxij,ocij->oyx', windows, weight) + bias[:, None, None]

    x = conv(image[0].astype(np.float64), w['conv1.weight'], w['conv1.bias'])
    scale = w['bn.weight'] / np.sqrt(w['bn.var'] + EPSILON)
    x = (x - w['bn.mean'][:, None, None]) * scale[:, None, None] + w['bn.bias'][:, None, None]
    x = np.maximum(x, 0)
    x = np.maximum(conv(x, w['conv2.weight'], w['conv2.bias']) + x, 0)
    features = x.reshape(8, 8, 2, 8, 2).max(axis=(2, 4))
    scores = w['fc.weight'] @ features.mean(axis=(1, 2)) + w['fc.bias']
    return features[None], scores[None]


def as_onnx(path, values=None):
    """Write the network as ONNX, with other weights where given; return the path."""
    same = {'kernel_shape': [3, 3], 'pads': [1, 1, 1, 1]}
    return save(
        path,
        [node('Conv', ['image', 'conv1.weight', 'conv1.bias'], ['a'], name='conv1', **same),
         node('BatchNormalization', ['a', 'bn.weight', 'bn.bias', 'bn.mean', 'bn.var'], ['b'],
              name='bn', epsilon=EPSILON),
         node('Relu', ['b'], ['c'], name='relu1'),
         node('Conv', ['c', 'conv2.weight', 'conv2.bias'], ['d'], name='conv2', **same),
         node('Add', ['d', 'c'], ['e'], name='add'), node('Relu', ['e'], ['f'], name='relu2'),
         node('MaxPool', ['f'], ['features'], name='pool', kernel_shape=[2, 2], strides=[2, 2]),
         node('GlobalAveragePool', ['features'], ['g'], name='mean'),
         node('Flatten', ['g'], ['h'], name='flat'),
         node('Gemm', ['h', 'fc.weight', 'fc.bias'], ['scores'], name='fc', transB=1)],
        {'image': ('FLOAT', list(IMAGE))},
        {'features': ('FLOAT', list(FEATURES)), 'scores': ('FLOAT', list(SCORES))},
        weights() if values is None else values)


def in_torch():
    """Return the network as a module of PyTorch."""
    torch = torch_or_skip()

    class Network(torch.nn.Module):

        def __init__(self):
            super().__init__()
            self.conv1 = torch.nn.Conv2d(3, 8, 3, padding=1)
            self.bn = torch.nn.BatchNorm2d(8, eps=EPSILON)
            self.conv2 = torch.nn.Conv2d(8, 8, 3, padding=1)
            self.fc = torch.nn.Linear(8, 5)

        def forward(self, image):
            x = torch.relu(self.bn(self.conv1(image)))
            x = torch.relu(self.conv2(x) + x)
            features = torch.nn.functional.max_pool2d(x, 2)
            return {'features': features, 'scores': self.fc(features.mean(dim=(2, 3)))}

    network = Network().eval()
    names = {'bn.mean': 'bn.running_mean', 'bn.var': 'bn.running_var'}
    network.load_state_dict({names.get(name, name): torch.from_numpy(value)
                             for name, value in weights().items()}, strict=False)
    return network


def as_torchscript(path):
    """Write the network as a TorchScript with its description; return the path."""
    torch = torch_or_skip()
    describe(path, {'image': ('float32', list(IMAGE))},
             {'features': ('float32', list(FEATURES)), 'scores': ('float32', list(SCORES))})
    return script(path, in_torch(), torch.zeros(IMAGE))


def as_program(path):
    """Write the network as an exported program; return the path."""
    torch = torch_or_skip()
    return export(path, in_torch(), torch.zeros(IMAGE))
