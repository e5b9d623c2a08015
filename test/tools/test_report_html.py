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

"""The page of a replay: whole in itself, true to the report, and never led by what it shows."""

import base64
from html.parser import HTMLParser
import json
import re
import shutil
import subprocess
import sys

import bag_bench
from c7_inference_ros.errors import BagError
from c7_inference_ros.pipeline.windows import LatencyWindow
from c7_inference_ros.tools.replaying import replay_page
from c7_inference_ros.tools.replaying.latency import course
from c7_inference_ros.tools.reporting.gallery import Gallery
from c7_inference_ros.tools.reporting.gallery import Picture
from c7_inference_ros.tools.reporting.html import page
from c7_inference_ros.tools.reporting.timeline import MAX_BINS
from c7_inference_ros.tools.reporting.timeline import Timelines
import numpy as np
import pytest
from replay_bench import BOXES
from replay_bench import parameters
from replay_bench import run

BROWSERS = ('chromium', 'chromium-headless-shell', 'chromium-browser', 'google-chrome')
HOSTILE = ('<script>alert(1)</script>', '"><img src=x onerror=alert(1)>', '$\\frac{1}{$', '_under',
           "' onload='alert(1)", '&lt;b&gt;', '</style><b>', '\ud800\x00\x1b[31m\u202e', '')
CAMERAS = {'front': {'image_topic': '/front/image_raw'},
           'rear': {'image_topic': '/rear/image_raw', 'image_transport': 'compressed'}}


class Page(HTMLParser):
    """What a reader makes of a page."""

    def __init__(self, data):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.source = data.decode('utf-8')
        self.feed(self.source)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return ' '.join(' '.join(self.words).split())

    @property
    def pictures(self):
        """Return the files of the pictures."""
        return [base64.b64decode(value.partition(',')[2]) for tag, name, value in self.attributes
                if (tag, name) == ('img', 'src')]

    def check_alone(self):
        """Fail if it runs or loads anything."""
        assert not {'script', 'link', 'iframe', 'object', 'embed', 'base', 'form'} & set(self.tags)
        for tag, name, value in self.attributes:
            assert not name.startswith('on'), (tag, name, value)
            if name in ('src', 'href', 'xlink:href'):
                assert re.match(r'data:image/(jpeg|png);base64,|#', value), (tag, name, value)
        assert not re.search(r'@import|url\((?!#)|https?://', self.source)


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Return a replay with its page, of two cameras of which one has a damaged image."""
    folder = tmp_path_factory.mktemp('two')
    images = bag_bench.two_cameras(4)
    images[2].edit = lambda raw: raw[:-5]
    bag = bag_bench.make_bag(folder / 'drive', images)
    return run(folder / 'out', bag, parameters(folder / 'p', CAMERAS), has_page=True)


@pytest.fixture(scope='module')
def shown(two):
    return Page((two.folder / 'report.html').read_bytes())


def test_a_replay_leaves_a_page_that_needs_nothing_else(two, shown):
    assert two.exit_code == 0
    assert two.names == ['detections.jsonl', 'detections_bag', 'report.html', 'report.json']
    shown.check_alone()
    assert shown.source.rstrip().endswith('</html>')
    # Stages and latency of the model, and detections of two cameras.
    assert shown.tags.count('svg') == 4
    ids = [value for _, name, value in shown.attributes if name == 'id']
    assert len(ids) == len(set(ids)) and ids
    assert {f'#{one}' for one in ids} >= {
        value for _, name, value in shown.attributes if name.endswith('href')}


def test_the_page_says_what_the_report_says(two, shown):
    report = two.report
    for words in ('replay: drive', 'Good', '/front/image_raw', report['models']['detector'][
            'sha256'][:16], 'models.detector.score_threshold', 'bad_image', 'damaged in the bag',
            '14 detections in 7 frames', 'p95'):
        assert words in shown.text, words
    assert report['problems'][0] in shown.text
    assert 'Frames are missing' not in shown.text
    p95 = report['stages_ms']['detector']['inference']['p95']
    assert f'{p95:.2f}' in shown.text
    row = re.search(r'<tr><th scope="row">front</th>(.*?)</tr>', shown.source.partition(
        '<h2>Frames</h2>')[2])
    assert re.findall(r'>([^<>]+)<', row[1]) == ['detector', '4', '3', '1', '0', '0']


def test_frames_are_read_again_and_drawn(shown):
    import cv2
    # Three even ones of each camera; the damaged image has none.
    assert len(shown.pictures) == 5
    for data in shown.pictures:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (360, 480, 3)
    assert 'front 0, stamp 1700000000000000000: 2 detections' in shown.text


def test_the_page_can_be_left_out(tmp_path, capsys):
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(2))
    done = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'))
    assert done.names == ['detections.jsonl', 'detections_bag', 'report.json']
    assert 'report.json' in capsys.readouterr().out


@pytest.mark.parametrize('word', HOSTILE, ids=range(len(HOSTILE)))
def test_whatever_stands_in_a_bag_is_only_text(two, word):
    """Every name and text of the report and of the lines, replaced by something hostile."""
    names = {'front': word, 'drive': word, 'person': word, 'detector': word,
             '/front/image_raw': word, 'mcap': word, 'camera': word}
    report, lines = renamed(two.report, names), [renamed(line, names) for line in two.lines]
    report['problems'] = [word]
    report['evaluation'] = {word: judged(word)}
    shown = Page(page(report, lines, more=[Gallery(word, [word], [Picture(
        b'', 'png', word, word)])], notes=[word]))
    shown.check_alone()
    plain = re.sub('[\ud800\x00\x1b\u202e]', '\ufffd', word)
    assert ' '.join(f'replay: {plain}'.split()) in shown.text
    assert shown.tags.count('svg') == 5 and 'b' not in shown.tags
    # In the tables, the plots, the problems, the notes and the gallery.
    assert not plain or shown.text.count(' '.join(plain.split())) >= 12


def renamed(value, names):
    if isinstance(value, dict):
        return {key if key in ('camera', 'stamp_ns') else names.get(key, key): renamed(one, names)
                for key, one in value.items()}
    if isinstance(value, list):
        return [renamed(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def judged(name):
    figures = {'precision': 0.5, 'recall': None, 'f1': 0.25, 'tp': 1, 'fp': 1, 'fn': 2}
    return {'mAP50_95': 0.123, 'mAP50': None, **figures, 'iou': 0.5, 'lowest_score': 0.4,
            'per_class': {name: {'ap': 0.123, 'ap50': 0.4, **figures}},
            'confusion': {'labels': [name, 'background'], 'matrix': [[1, 2], [1, 0]]},
            'pr_curves': {name: {'recall': [0.1, 0.5], 'precision': [1.0, 0.5],
                                 'score': [0.9, 0.4]}},
            'worst_frames': [], 'frames': {'total': 4, 'evaluated': 3}, 'problems': [name]}


def test_accounts_that_do_not_add_up_are_called_a_bug(two):
    report = two.report
    report['counts']['front']['detector']['published'] -= 2
    report['exit_code'] = 1
    shown = Page(page(report, two.lines))
    assert 'Frames are missing in these accounts' in shown.text
    assert 'Not good (exit code 1)' in shown.text


def test_without_matplotlib_the_page_says_so(two, monkeypatch):
    monkeypatch.setitem(sys.modules, 'matplotlib', None)
    shown = Page(page(two.report, two.lines))
    assert 'svg' not in shown.tags
    assert 'no plots: matplotlib is not installed' in shown.text
    assert '14 detections in 7 frames' in shown.text


def test_a_bag_that_is_gone_costs_the_frames_and_not_the_page(two):
    class Gone:

        def count(self, topic):
            return 4

        def images(self, topics):
            raise BagError('the bag is gone')

    data = replay_page.replay_page(two.report, two.folder / 'detections.jsonl', Gone(), (), {},
                                   None)
    shown = Page(data)
    assert 'No frames are shown: the bag is gone' in shown.text and not shown.pictures


def test_nothing_published_is_a_page_too(tmp_path):
    images = bag_bench.frames(2)
    for image in images:
        image.edit = lambda raw: raw[:-5]
    done = run(tmp_path / 'out', bag_bench.make_bag(tmp_path / 'bag', images),
               parameters(tmp_path / 'p'), has_page=True)
    assert done.exit_code == 1
    shown = Page((done.folder / 'report.html').read_bytes())
    assert 'No frame was published' in shown.text and 'Not good (exit code 1)' in shown.text


def test_ground_truth_gives_figures_curves_and_the_worst_frames(tmp_path):
    pytest.importorskip('pycocotools', reason='pycocotools is not installed; run: make env')
    truth = tmp_path / 'labels.json'
    person, car = BOXES
    boxes = {0: [person, car], 1: [person], 2: [person, [0, 30, 8, 40, 1, 1]]}
    truth.write_text(json.dumps({
        'images': [{'id': number, 'file_name': f'{number}.png'} for number in boxes],
        'annotations': [{'id': 10 * number + place, 'image_id': number,
                         'category_id': int(box[5]),
                         'bbox': [*box[:2], box[2] - box[0], box[3] - box[1]]}
                        for number, there in boxes.items() for place, box in enumerate(there)],
        'categories': [{'id': 0, 'name': 'person'}, {'id': 1, 'name': 'car'}]}))
    bag = bag_bench.make_bag(tmp_path / 'bag', bag_bench.frames(3, size=(48, 64)))
    done = run(tmp_path / 'out', bag, parameters(tmp_path / 'p'), '--ground-truth', str(truth),
               has_page=True)
    shown = Page((done.folder / 'report.html').read_bytes())
    shown.check_alone()
    found = done.report['evaluation']['detector']
    for words in ('Against ground truth', f'{found["mAP50_95"]:.3f}', 'not found', 'nothing there',
                  'F1 0.50: 1 wrong, 1 missed', 'F1 0.67: 1 wrong, 0 missed'):
        assert words in shown.text, words
    assert shown.tags.count('svg') == 4
    # Frames 2 and 1, the worst first; frame 0 is right.
    assert re.findall(r'front (\d), stamp', shown.text) == ['2', '1']
    assert marks(shown.pictures[0]) == {'blue', 'red', 'yellow'}
    assert marks(shown.pictures[1]) == {'blue', 'red'}


def marks(data):
    """Return the colours of the outlines in a picture."""
    import cv2
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).astype(int)
    colors = {'blue': (233, 180, 86), 'red': (0, 94, 213), 'yellow': (66, 228, 240)}
    return {name for name, color in colors.items()
            if (np.abs(picture - color).max(axis=2) < 40).sum() > 100}


def test_frames_between_drops_are_seen_in_the_plot(two):
    lines = two.lines
    for line in lines:
        if line['index'] % 2:
            line.update(dropped='overwritten', detections=[])
    # In the plot of the rear camera, the last one: each of its two frames, and the legend.
    points = [len(re.findall('<use[^>]*#0086c9', Page(page(two.report, one)).source.split(
        '<svg')[-1])) for one in (two.lines, lines)]
    assert points == [0, 3]


def test_a_page_is_the_same_every_time(two):
    assert page(two.report, two.lines) == page(two.report, two.lines)


def test_a_long_run_is_counted_into_few_bins():
    frames = 10_000
    report = {'counts': {'front': {'model': {'received': frames}}}}
    timelines = Timelines(report)
    names = [f'class{number}' for number in range(9)]
    timelines.read({'camera': 'front', 'model': 'model', 'log_ns': 10 ** 18 + index,
                    'dropped': 'stale' if index % 2 else '',
                    'detections': [] if index % 2 else [{'label': name} for name in
                                                        names[:1 + index % 9]]}
                   for index in range(frames))
    stream = ('front', 'model')
    bins = timelines.bins[stream]
    assert MAX_BINS // 2 < len(bins) <= MAX_BINS
    assert (sum(one.frames for one in bins), sum(one.dropped for one in bins)) == (10_000, 5_000)
    rows = timelines.classes(stream)
    assert list(rows) == [*names[:7], 'others']
    # Every published frame has the first class once; the last two are together in the rest.
    assert rows['class0'] == [1.0] * len(bins)
    assert np.mean(rows['others']) == pytest.approx((2 + 1) / 9, abs=0.01)


def test_the_course_of_a_stage_keeps_order_extremes_and_every_frame():
    seconds = np.linspace(0.001, 1.0, 5000)
    found = course(seconds)
    over = found['over_time']
    assert len(over['frame']) == len(over['p50']) == len(over['max']) == 120
    assert over['frame'][0] == 0 and over['p50'] == sorted(over['p50'])
    assert (over['max'][-1], found['spread']['from'], found['spread']['to']) == (1000.0, 1.0,
                                                                                 1000.0)
    assert sum(found['spread']['frames']) == 5000
    assert course(np.array([0.002]))['over_time'] == {'frame': [0], 'p50': [2.0], 'max': [2.0]}


@pytest.mark.parametrize('added', [0, 2, 3, 4, 7])
def test_a_window_gives_its_values_the_oldest_first(added):
    window = LatencyWindow(3)
    for number in range(added):
        window.add(float(number))
    assert window.values().tolist() == list(map(float, range(added)))[-3:]


@pytest.mark.parametrize('width', [390, 1280])
def test_a_browser_shows_the_page(two, tmp_path, width):
    import cv2
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip('no chromium on PATH')
    picture = tmp_path / 'page.png'
    subprocess.run([
        browser, '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars',
        f'--user-data-dir={tmp_path / "profile"}', f'--screenshot={picture}',
        f'--window-size={width},4000', (two.folder / 'report.html').as_uri()],
        check=True, capture_output=True, timeout=120)
    pixels = cv2.imread(str(picture))
    assert pixels.shape[1] == width
    # Plots in their own colours, whose signs are a hundred pixels at least, and the frames.
    for color in ((201, 134, 0), (0, 94, 213)):
        assert (np.abs(pixels.astype(int) - color).max(axis=2) < 12).sum() > 100
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100
