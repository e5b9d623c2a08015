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

"""Many lives of one process: what configure takes, cleanup gives back."""

from graph import ROOT
import numpy as np
import pytest

ROUNDS = 50
#: How many rounds are looked at, at the beginning and at the end.
SOME = 15


# Growth of resident memory, MiB. ONNX Runtime's own allocations move by 25 MiB from session to
# session; a model that is not given back takes 40 MiB in each round. The scripted runtime has no
# such noise: with it, 0.15 MiB lost in each round show.
@pytest.mark.parametrize(('runtime', 'growth_mib'), [('onnx_trt_ep', 30), ('dummy', 8)])
def test_rounds_leave_nothing_behind(ros, scripted, runtime, growth_mib):
    if runtime == 'dummy':
        model = 'detector'
        process, client = scripted({'memory': {'host_bytes': 1 << 30}}, transitions=())
    else:
        model = 'person'
        process, client = ros.start(ROOT / 'config' / 'inference.yaml')
    camera, detections = client.camera(), client.detections(model=model)
    picture = np.zeros((240, 320, 3), np.uint8)
    usages = []
    for number in range(1 + ROUNDS):
        client.change_states('configure', 'activate')
        camera.deliver(detections, picture)
        client.change_states('deactivate', 'cleanup')
        client.wait(lambda: detections.publishers() == 0 and camera.subscribers() == 0,
                    'everything of the round is gone')
        usages.append(_settled(client, process, usages[0] if usages else None))
    threads, descriptors, resident = zip(*usages)
    print(f'threads {threads}, descriptors {descriptors}, resident MiB {resident}')
    assert threads[-1] <= threads[0]
    assert descriptors[-1] <= descriptors[0]
    # The first round loads libraries.
    assert min(resident[-SOME:]) - min(resident[1:1 + SOME]) <= growth_mib
    assert process.stop() == 0
    assert not process.lines('ERROR', 'FATAL')


def _settled(client, process, first):
    """Return what the process uses; threads that end do so in a moment."""
    usage = process.usage()
    for _ in range(20):
        if first is None or usage[:2] <= first[:2]:
            break
        client.spin(0.02)
        usage = process.usage()
    return usage
