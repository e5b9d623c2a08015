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

"""Load shedding over DDS: down and up in single steps, all accounted for, set at run time."""

from itertools import pairwise
import re
import time

from board_trees import plant
from client import ERROR
from client import OK
from client import STALE
from client import WARN
from harness import dummy_model
from harness import dummy_parameters
import pytest
from ramp import Ramp
from thermal_sysfs import laptop
from thermal_sysfs import SysfsTree

SHEDDING, HOST = 'load shedding', 'temperature host'
#: The laptop's zone 0 slows the processor at 95 C; the margins are 5 and 10 K.
HOT, WARM, COOL = 91000, 87000, 80000
DWELL_S = 0.4
SHED = {'thermal.policy': 'shed', 'thermal.poll_rate': 20.0, 'thermal.dwell': DWELL_S}
IMAGES_HZ = 50.0
#: What tests of the shared node set.
SETTINGS = ('thermal.policy', 'thermal.poll_rate', 'thermal.dwell', 'thermal.shed_margin',
            'thermal.recover_margin', 'thermal.shed_rates', 'thermal.shed_limit',
            'cameras.camera.max_rate')


@pytest.fixture(scope='module')
def shared_tree(tmp_path_factory):
    """Return the sysfs of a laptop, of all tests."""
    return laptop(SysfsTree(tmp_path_factory.mktemp('laptop') / 'sys'))


@pytest.fixture
def tree(shared_tree):
    """Return that sysfs, cool."""
    return laptop(shared_tree)


@pytest.fixture(scope='module')
def shared_node(shared_ros, shared_tree, tmp_path_factory):
    """Return an unconfigured node that looks at the tree, of all tests, and its parameters."""
    path = dummy_model(tmp_path_factory.mktemp('shared') / 'model.yaml')
    process, client = shared_ros.start({
        **dummy_parameters(path), 'thermal.sysfs_root': str(shared_tree.root), **SHED},
        is_quick=True)
    return process, client, client.get_parameters(SETTINGS)


@pytest.fixture
def shedding(shared_node, tree):
    """Return a function that sets the shared node up to shed load when the tree is hot."""
    process, client, defaults = shared_node

    def start(parameters=None, transitions=('configure', 'activate')):
        for successful, reason in client.set_parameters({**defaults, **(parameters or {})}):
            assert successful, reason
        process.mark()
        client.change_states(*transitions)
        return process, client
    yield start
    client.unconfigure()


@pytest.fixture
def two_models(ros, tmp_path, tree):
    """Return a node with the models cars (priority 5) and people (0), which sheds models only."""
    paths = {name: str(dummy_model(tmp_path / f'{name}.yaml')) for name in ('cars', 'people')}
    process, client = ros.start({
        'runtime': 'dummy', 'memory.free_floor_bytes': 0, 'model_names': ['cars', 'people'],
        'models.cars.path': paths['cars'], 'models.people.path': paths['people'],
        'models.cars.priority': 5, 'thermal.sysfs_root': str(tree.root), **SHED,
        'thermal.shed_rates': [0.0], 'thermal.shed_limit': 'models'}, is_quick=True)
    client.change_states('configure', 'activate')
    return process, client


@pytest.fixture
def stream():
    """Return a function that publishes images whenever a client waits for something."""
    opened = []

    def start(client):
        camera = client.camera()
        camera.wait_for_subscriber()
        opened.append((client, camera, client.node.create_timer(1.0 / IMAGES_HZ, camera.publish)))
    yield start
    for client, camera, timer in opened:
        client.node.destroy_timer(timer)
        camera.close()


def at_level(level, **values):
    """Return a condition of the status of load shedding."""
    return lambda status: status['level'] == str(level) and all(
        status[key] == value for key, value in values.items())


def images_dropped(client, reason):
    """Return how many images the one model has dropped for a reason; counts never go back."""
    return client.status('model detector').number(f'dropped_{reason}')


def levels_of(client, since=0):
    """Return the levels that /diagnostics has shown, each change once."""
    levels = [int(statuses[SHEDDING]['level']) for statuses in client.statuses(since)]
    return levels[:1] + [after for before, after in pairwise(levels) if before != after]


def step_times(process):
    """Return when each step was logged, seconds."""
    return [float(re.match(r'\[\w+\] \[([\d.]+)\]', line).group(1))
            for line in process.lines('WARN', 'INFO')
            if 'load is shed' in line or 'load comes back' in line]


def assert_one_step_a_dwell(process):
    """Look at the steps in the log; a busy machine may write a line late."""
    times = step_times(process)
    assert all(after - before > DWELL_S - 0.2 for before, after in pairwise(times)), times


def test_load_is_shed_step_by_step_and_comes_back_in_the_same_steps(scripted, stream, tree):
    process, client = scripted({}, {'thermal.sysfs_root': str(tree.root), **SHED,
                                    'diagnostics.image_timeout': 0.5}, is_quick=True)
    stream(client)
    detections = client.detections()
    detections.wait(3)
    report = client.report(SHEDDING, at_level(0, heat='cool'))
    assert report[SHEDDING].level == OK
    assert (report[SHEDDING]['levels'], report[SHEDDING]['active']) == ('3', 'true')
    since = len(client.diagnostics.messages) - 1

    tree.temperature(0, HOT)
    status = client.status(SHEDDING, at_level(1))
    assert status.level == WARN
    assert (status['max_rate_hz'], status['paused'], status['heat']) == ('10.000', 'false', 'hot')
    assert 'acpitz is at 91.0 C' in status['reason'] and '95.0 C' in status['reason']
    client.status(SHEDDING, at_level(3, paused='true'))
    # A frame that was taken before the pause is still published.
    client.status('model detector', lambda status: status['in_flight'] == '0')
    published = len(detections.messages)
    report = client.report('model detector', lambda status: status.number('dropped_thermal') > 20)
    assert len(detections.messages) == published
    assert report['model detector'].level == WARN
    assert 'shed because of heat' in report['model detector'].message
    assert report['camera camera'].level == OK  # it is not silent, nobody listens to it
    assert report['camera camera'].number('rate_in_hz') > 5

    tree.temperature(0, WARM)
    client.status(SHEDDING, at_level(3, heat='warm'))
    client.spin(2 * DWELL_S)
    assert client.status(SHEDDING)['level'] == '3'
    tree.temperature(0, COOL)
    client.status(SHEDDING, at_level(0))
    detections.wait(len(detections.messages) + 5)
    assert levels_of(client, since) == [0, 1, 2, 3, 2, 1, 0]
    lines = [line for line in process.lines() if 'load is shed' in line]
    assert len(lines) == 3 and all(line.startswith('[WARN]') for line in lines)
    assert 'step 1 of 3: at most 10 Hz' in lines[0] and 'acpitz' in lines[0]
    assert 'no image is looked at until it is cooler' in lines[2]
    lines = [line for line in process.lines() if 'load comes back' in line]
    assert len(lines) == 3 and all(line.startswith('[INFO]') for line in lines)
    assert 'step 0 of 3: nothing is shed' in lines[2]
    assert_one_step_a_dwell(process)
    status = client.status('model detector', lambda status: status['in_flight'] == '0')
    assert set(status.dropped()) <= {'thermal', 'overwritten', 'inactive'}
    assert client.status(SHEDDING)['steps_taken'] == '6'


def test_a_lower_rate_is_what_is_published_and_unknown_heat_holds_it(shedding, stream, tree):
    tree.temperature(0, HOT)
    process, client = shedding({'thermal.shed_limit': 'rate', 'thermal.shed_rates': [8.0]})
    shed = images_dropped(client, 'thermal')
    stream(client)
    detections = client.detections()
    client.status(SHEDDING, at_level(1, levels='1'))
    begin, before = time.monotonic(), len(detections.messages)
    detections.wait(before + 12)  # three times the dwell
    assert (len(detections.messages) - before) / (time.monotonic() - begin) < 10.5
    report = client.report('model detector',
                           lambda status: status.number('dropped_thermal') > shed)
    assert report['model detector'].level == WARN
    assert report[SHEDDING]['level'] == '1'  # shed_limit
    hidden = tree.root.with_name('hidden')
    tree.root.rename(hidden)
    report = client.report(SHEDDING, lambda status: status['heat'] == 'unknown')
    assert report[HOST].level == STALE
    client.spin(2 * DWELL_S)
    status = client.status(SHEDDING)
    assert (status['level'], status.level) == ('1', WARN)
    assert str(tree.root) in status.message
    hidden.rename(tree.root)
    tree.temperature(0, COOL)
    client.status(SHEDDING, at_level(0, heat='cool'))


def test_the_policy_changes_while_the_node_runs_and_observe_sheds_nothing(shedding, stream, tree):
    tree.temperature(0, HOT)
    process, client = shedding({'thermal.policy': 'observe', 'thermal.shed_limit': 'rate'})
    shed, found = images_dropped(client, 'thermal'), client.detections()
    stream(client)
    status = client.status(SHEDDING, lambda status: status['heat'] == 'hot')
    assert status.level == OK
    client.spin(2 * DWELL_S)
    found.wait(10)
    assert client.status(SHEDDING)['level'] == '0'
    assert images_dropped(client, 'thermal') == shed
    client.set('thermal.policy', 'shed')
    client.status(SHEDDING, at_level(2))
    # Further from the limit than the new margin: neither hot nor cool, and then hot again.
    client.set('thermal.shed_margin', 1.0)
    client.status(SHEDDING, at_level(2, heat='warm'))
    client.set('thermal.recover_margin', 2.0)
    client.status(SHEDDING, at_level(0, heat='cool'))
    client.set('thermal.recover_margin', 10.0)
    client.set('thermal.shed_margin', 5.0)
    client.status(SHEDDING, at_level(2))
    client.set('thermal.shed_rates', [4.0])
    client.status(SHEDDING, at_level(1, levels='1', max_rate_hz='4.000'))
    client.set('thermal.shed_limit', 'pause')
    client.status(SHEDDING, at_level(2, paused='true'))
    process.mark()
    client.set('thermal.policy', 'observe')
    status = client.status(SHEDDING, at_level(0))
    assert status['policy'] == 'observe'
    line, = (line for line in process.lines('INFO') if 'load comes back' in line)
    assert 'thermal.policy was set to observe' in line
    client.spin(2 * DWELL_S)
    assert client.status(SHEDDING)['level'] == '0'


def test_settings_that_leave_nothing_to_shed_warn_in_the_status_and_at_activation(shedding):
    process, client = shedding({'thermal.shed_limit': 'rate', 'thermal.shed_rates': [0.0]},
                               transitions=())
    status = client.status(SHEDDING, lambda status: status['heat'] == 'cool')
    assert status.level == OK  # what can be shed is not known yet
    client.change_states('configure', 'activate')
    line, = (line for line in process.lines('WARN') if 'activating with' in line)
    status = client.status(SHEDDING, lambda status: status['active'] == 'true')
    assert (status.level, status['levels']) == (WARN, '0')
    for fragment in ('nothing can be shed', 'thermal.shed_limit is rate',
                     'thermal.shed_rates is [0.0]'):
        assert fragment in status.message and fragment in line
    client.set('thermal.shed_rates', [5.0])
    status = client.status(SHEDDING)
    assert (status.level, status['levels']) == (OK, '1')
    client.change_states('deactivate')
    client.set('thermal.shed_rates', [0.0])
    client.set('thermal.policy', 'observe')
    process.mark()
    client.change_states('activate')
    assert not process.lines('WARN')


def test_settings_that_contradict_each_other_are_refused(shedding):
    process, client = shedding()
    before = client.get_parameters(['thermal.recover_margin', 'thermal.shed_rates'])
    reason = client.refusal('thermal.recover_margin', 5.0)
    for fragment in ('thermal.recover_margin is 5 K', 'thermal.shed_margin, 5 K'):
        assert fragment in reason
    assert 'rates that fall' in client.refusal('thermal.shed_rates', [5.0, 10.0])
    assert 'thermal.policy' in client.refusal('thermal.policy', 'sheds')
    assert client.get_parameters(before) == before
    client.change_states('deactivate', 'cleanup')
    client.set('thermal.recover_margin', 5.0)
    assert not client.change_state('configure')
    line, = process.lines('ERROR')
    assert 'thermal.recover_margin is 5 K' in line


def test_max_rate_of_a_camera_is_no_heat_and_no_fault(shedding, stream):
    process, client = shedding({'cameras.camera.max_rate': 10.0})
    shed = images_dropped(client, 'thermal')
    stream(client)
    detections = client.detections()
    detections.wait(3)
    # What an earlier test shed is a warning for a while.
    client.status('model detector', lambda status: (
        status.number('dropped_rate_limited') > 10 and status.level == OK))
    assert images_dropped(client, 'thermal') == shed
    client.set('cameras.camera.max_rate', 0.0)
    dropped = client.status('model detector').dropped()['rate_limited']
    published = len(detections.messages)
    detections.wait(published + 30)
    assert client.status('model detector').dropped()['rate_limited'] == dropped


def test_models_are_skipped_by_priority_and_priorities_change_while_it_runs(
        two_models, stream, tree):
    process, client = two_models
    found = {name: client.detections(model=name) for name in ('cars', 'people')}
    stream(client)
    for collector in found.values():
        collector.wait(2)

    def assert_skipped(skipped, seen):
        client.status(SHEDDING, at_level(1, skipped_models=skipped, levels='1'))
        client.report(f'model {skipped}', lambda status: status['in_flight'] == '0')
        counts = {name: len(collector.messages) for name, collector in found.items()}
        found[seen].wait(counts[seen] + 10)
        assert len(found[skipped].messages) <= counts[skipped] + 1  # one was on its way
        report = client.report(f'model {skipped}')
        assert 'sees no image, shed because of heat' in report[f'model {skipped}'].message
        assert 'sees no image' not in report[f'model {seen}'].message
        return report

    tree.temperature(0, HOT)
    report = assert_skipped('people', 'cars')
    assert report['model cars'].level == OK
    assert 'thermal' not in report['model cars'].dropped()
    client.set('models.people.priority', 10)
    assert_skipped('cars', 'people')
    client.set('models.cars.priority', 10)  # all equal: none is skipped
    client.status(SHEDDING, at_level(0, levels='0', heat='hot'))
    before = len(found['cars'].messages)
    found['cars'].wait(before + 5)


def test_every_activation_begins_with_nothing_shed_and_acts_upon_what_is_known(shedding, tree):
    tree.temperature(0, HOT)
    process, client = shedding({'thermal.dwell': 60.0, 'thermal.poll_rate': 0.1}, transitions=())
    status = client.status(SHEDDING, lambda status: status['heat'] == 'hot')
    assert (status['policy'], status['active'], status['level'], status['levels']) == (
        'shed', 'false', '0', '0')
    client.change_states('configure')
    client.status(SHEDDING, at_level(0, heat='hot', active='false', levels='3'))
    for _ in range(2):
        process.mark()
        client.change_states('activate')
        process.wait_for_line('load is shed, step 1 of 3', timeout_s=3.0)  # a poll takes 10 s
        status = client.status(SHEDDING, at_level(1, active='true', steps_taken='1'))
        client.change_states('deactivate')
        status = client.status(SHEDDING, at_level(0, active='false'))
        assert status['heat'] == 'hot'


def test_a_board_that_heats_up_and_cools_down_sheds_and_recovers_without_flapping(
        scripted, stream, tmp_path):
    tree = plant('orin_agx', tmp_path)
    ramp = Ramp(tree, duration_s=120.0)
    process, client = scripted({}, {'thermal.sysfs_root': str(tree.sysfs_root), **SHED})
    stream(client)
    detections = client.detections()
    detections.wait(3)
    report = client.report(SHEDDING, at_level(0, heat='cool'))
    assert report['temperature jetson'].level == OK
    since = len(client.diagnostics.messages)
    throttled = []
    for number in range(1, 41):  # a busy machine takes longer, and skips nothing
        throttled.append(ramp.advance(3.0 * number).is_throttling)
        client.spin(0.1)
    assert any(throttled) and not throttled[-1]
    client.status(SHEDDING, at_level(0, heat='cool'))
    messages = list(client.statuses(since))
    levels = levels_of(client, since)
    assert levels[0] == levels[-1] == 0
    assert max(levels) == 3
    assert {abs(after - before) for before, after in pairwise(levels)} == {1}
    turn = levels.index(3)
    assert levels[:turn] == sorted(levels[:turn]) and levels[turn:] == sorted(
        levels[turn:], reverse=True), levels
    assert_one_step_a_dwell(process)
    assert len(step_times(process)) == 6
    # Load is shed before the board slows itself down, and the board is cool when it is back.
    shown = [(int(each[SHEDDING]['level']), each['temperature jetson']['throttling'] == 'true',
              each['temperature jetson'].level == ERROR) for each in messages]
    first_throttle = next(index for index, (_, is_throttling, _) in enumerate(shown)
                          if is_throttling)
    assert shown[first_throttle][0] >= 1
    assert all(is_throttling <= is_error for _, is_throttling, is_error in shown)
    process.wait_for_line('jetson no longer throttles')
    lines = [line for line in process.lines() if 'jetson throttles because of heat' in line
             or 'jetson no longer throttles' in line]
    assert [line.split(']')[0] for line in lines] == ['[WARN', '[INFO']
    status = client.status('model detector', lambda status: status['in_flight'] == '0')
    assert status.dropped()['thermal']
    assert set(status.balance().values()) == {0}
    detections.wait(len(detections.messages) + 5)
