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

"""One run of the demo, step by step."""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
from pathlib import Path
import shutil
import signal
import sys
import time
from typing import Any
from typing import Iterator

from c7_inference_ros.thermal.conditions import record_conditions
from c7_inference_ros.thermal.measurement_conditions import MeasurementConditions
from demo import clip
from demo import summary as results
from demo.accounting import Account
from demo.accounting import node_counts
from demo.errors import DemoError
from demo.graph import choose_domain_id
from demo.graph import prepare_environment
from demo.model import described_setup
from demo.model import existing_model
from demo.model import Setup
from demo.model import shipped_setup
from demo.node_process import node_command
from demo.node_process import NodeProcess
from demo.node_process import shown_command
from demo.output import fresh_folder
from demo.output import only_run
from demo.recording import Recording
from demo.session import Session
from demo.sim_clock import SimClock
from demo.terminal import Terminal

ROOT = Path(__file__).resolve().parent.parent.parent
WORK = ROOT / '.build' / 'demo'
STEPS = 6
FINISH_S, FINAL_S = 10.0, 5.0


class Demo:
    """
    One run.

    :param options: what the user asked for.
    """

    def __init__(self, options: argparse.Namespace) -> None:
        """Nothing is touched yet."""
        self.options = options
        self.output = options.output.expanduser().resolve()
        self.terminal = Terminal(STEPS, sys.stderr if options.json else sys.stdout)
        self.count = options.frames
        self.profile = Path()

    def run(self) -> int:
        """
        Do all steps.

        :returns: the exit code: 0, or 1 when the numbers do not add up.
        :raises DemoError: when it cannot go on.
        """
        with only_run(self.output, WORK):
            domain_id = choose_domain_id(self.options.domain_id)
            if self.options.model is not None:
                existing_model(self.options.model)  # before an earlier result is removed
            fresh_folder(self.output)
            self.profile = prepare_environment(ROOT, domain_id)
            bag = self._make_bag()
            setup = self._choose_model()
            with _guarded_cleanup() as cleanup:
                session = Session(domain_id, setup.camera, setup.model,
                                  SimClock(clip.FIRST_STAMP_NS))
                cleanup.callback(session.close)
                node = self._start(setup, cleanup)
                self._activate(session, node)
                with record_conditions() as conditions:
                    self._play(bag, session, node)
                self._stop(session, node)
            account, summary = self._report(bag, setup, session.recording,
                                            conditions.conditions())
            return self._conclude(account, summary)

    def _make_bag(self) -> Path:
        video = clip.obtain_clip(WORK)
        bag = clip.obtain_bag(video, WORK)
        self.terminal.step('bag', f'{video.name}, {clip.FRAMES} images {clip.WIDTH}x{clip.HEIGHT} '
                                  f'at {clip.RATE_HZ} Hz: {_short(bag)}')
        return bag

    def _choose_model(self) -> Setup:
        written = self.output / 'params.yaml'
        if self.options.model is None:
            setup = shipped_setup(ROOT)
            shutil.copyfile(setup.params, written)
        else:
            setup = described_setup(ROOT, self.options.model, self.options.labels,
                                    self.options.decoder, written)
        self.terminal.step('model', f'{_short(setup.path)} with {_short(setup.params)}')
        for note in setup.notes:
            self.terminal.more(note)
        return setup

    def _start(self, setup: Setup, cleanup: contextlib.ExitStack) -> NodeProcess:
        self.terminal.step('node', shown_command(_short(setup.params)))
        node = NodeProcess(node_command(setup.params), self.output / 'node.log', ROOT)
        cleanup.callback(node.kill)
        return node

    def _activate(self, session: Session, node: NodeProcess) -> None:
        states = [session.wait_for_node(node)]
        for transition in ('configure', 'activate'):
            started = time.monotonic()
            state = session.change_state(transition, node)
            states.append(f'{state} ({time.monotonic() - started:.1f} s)')
        self.terminal.more(' -> '.join(states))
        session.wait_for_match(node)

    def _play(self, bag: Path, session: Session, node: NodeProcess) -> None:
        """Publish every image at its time; the main thread does nothing else meanwhile."""
        record = session.recording
        self.terminal.step('play', f'{self.count} images in real time over DDS, profile '
                                   f'{_short(self.profile)}')
        session.clock.play()
        with self.terminal.progress(self.count) as bar:
            for stamp, raw in clip.read_images(bag, self.count):
                while (remaining := session.clock.seconds_until(stamp)) > 0:
                    time.sleep(remaining)
                session.publish_image(stamp, raw)
                node.check('the bag was played')
                bar.set_postfix_str(f'{len(record.received_ns)} results back', refresh=False)
                bar.update()
            self._wait_for_last_frames(session, node)
        self.terminal.more(f'{len(record.sent_ns)} images sent, {len(record.received_ns)} '
                           f'detection arrays back')

    def _wait_for_last_frames(self, session: Session, node: NodeProcess) -> None:
        """Let what is in work come back; what was lost or dropped never does."""
        first = len(session.recording.messages['diagnostics'])

        def is_over(record: Recording) -> bool:
            if len(record.received_ns) >= len(record.sent_ns):
                return True
            status = record.status.get(f'model {session.model}')
            return (len(record.messages['diagnostics']) >= first + 2 and status is not None
                    and status.values.get('in_flight') == '0')

        session.wait_for_record(is_over, FINISH_S, node, 'the last frames were in work')

    def _stop(self, session: Session, node: NodeProcess) -> None:
        state = session.change_state('deactivate', node)

        def is_inactive(record: Recording) -> bool:
            lifecycle = record.status.get('lifecycle')
            return lifecycle is not None and lifecycle.values.get('state') == 'inactive'

        def is_final(record: Recording) -> bool:
            status = record.status.get(f'model {session.model}')
            return (is_inactive(record) and status is not None
                    and status.values.get('in_flight') == '0')

        doing = 'its last diagnostics were awaited'
        if not session.wait_for_record(is_final, FINAL_S, node, doing) \
                and not is_inactive(session.recording):
            raise DemoError(f'the node is {state}, but its diagnostics did not say so within '
                            f'{FINAL_S:.0f} s', details=node.error_lines())
        seconds = node.interrupt()
        self.terminal.step('stop', f'{state}, SIGINT, exit code 0 after {seconds:.1f} s')

    def _report(self, bag: Path, setup: Setup, record: Recording,
                conditions: MeasurementConditions) -> tuple[Account, dict[str, Any]]:
        from demo import pictures
        status = record.status.get(f'model {setup.model}')
        counts = node_counts(status.values) if status else None
        if counts is None:
            raise DemoError(f'the diagnostics of the node have no whole status "model '
                            f'{setup.model}", expected received, published, in_flight and '
                            f'dropped_*; see node.log')
        latencies = record.latencies_ms()
        sent = list(record.sent_ns)
        account = Account(sent=len(sent), recorded=len(latencies), **counts)
        arrays, names = record.detections_by_stamp(), record.class_names()
        messages = record.write_bag(self.output / 'bag')
        pictures.write_pictures(
            clip.read_pictures(bag, self.count), sent, pictures.Annotator(arrays, names),
            clip.RATE_HZ, self.output)
        percentiles = results.percentiles_ms(latencies)
        pictures.write_latency_plot(latencies, sent, percentiles,
                                    f'{setup.path.name}, {results.machine()["cpu"]}',
                                    conditions.lines(), self.output / 'latency.png')
        summary = _summary(setup, record, account, percentiles,
                           results.count_detections(arrays, names), conditions)
        results.write_summary(summary, self.output / 'summary.json')
        self.terminal.step('results', f'{_short(self.output)}/: contact_sheet.png, '
                                      f'annotated.mp4, latency.png, summary.json,')
        self.terminal.more(f'bag ({messages} messages), params.yaml, node.log')
        return account, summary

    def _conclude(self, account: Account, summary: dict[str, Any]) -> int:
        self.terminal.line()
        self.terminal.line(results.format_table(summary))
        if self.options.json:
            print(json.dumps(summary, indent=2), flush=True)
        for line in results.advice(account, _short(self.profile)):
            print(f'demo: {line}', file=sys.stderr)
        for line in summary['problems']:
            print(f'demo: the numbers do not add up: {line}', file=sys.stderr)
        return 1 if summary['problems'] else 0


def _summary(setup: Setup, record: Recording, account: Account,
             percentiles: dict[str, float | None], detections: dict[str, int],
             conditions: MeasurementConditions) -> dict[str, Any]:
    values = {name: status.values for name, status in record.status.items()}
    own = values[f'model {setup.model}']
    return {
        'frames': results.frames_of(account),
        'latency_ms': percentiles,
        'conditions': results.conditions_of(conditions),
        'detections': detections,
        'memory': results.memory_of(values.get('memory', {})),
        'temperature': results.temperature_of(record.temperatures(), record.peak_temperature),
        'rate_hz': results.rate_hz(record.received_ns.values()),
        'lost_in_transport': account.lost,
        'problems': account.problems(),
        'node_stages_ms': results.node_stages(own),
        'model': {'name': setup.model, 'file': setup.path.name,
                  'sha256': hashlib.sha256(setup.path.read_bytes()).hexdigest(),
                  'decoder': own.get('decoder', ''),
                  'runtime': values.get('lifecycle', {}).get('runtime', ''),
                  'assumed': list(setup.notes)},
        'machine': results.machine(),
    }


@contextlib.contextmanager
def _guarded_cleanup() -> Iterator[contextlib.ExitStack]:
    """Yield a stack whose callbacks no further Ctrl-C interrupts; each of them is bounded."""
    with contextlib.ExitStack() as cleanup:
        before = {number: signal.getsignal(number)
                  for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
        try:
            yield cleanup
        finally:
            for number in before:
                signal.signal(number, signal.SIG_IGN)
            cleanup.close()
            for number, handler in before.items():
                signal.signal(number, handler)


def _short(path: Path) -> Path:
    """Return a path as a user in the checkout would write it."""
    try:
        return path.relative_to(ROOT)
    except ValueError:
        return path
