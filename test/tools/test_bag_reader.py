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

"""Bags of every kind are read alike, and damaged ones are refused with one line."""

import bag_bench as bench
from bag_bench import FRONT
from bag_bench import PERIOD
from bag_bench import REAR
from bag_bench import T0
from c7_inference_ros.tools.bags.reader import open_bag
import pytest


@pytest.mark.parametrize('kind', bench.KINDS)
def test_every_kind_gives_the_same_images(tmp_path, kind):
    path = bench.make_bag(tmp_path / 'bag', bench.two_cameras(), kind)
    with open_bag(path) as bag:
        assert bag.storage == kind.partition('-')[0]
        assert bag.image_topics == (FRONT, REAR)
        assert [(info.name, info.count) for info in bag.topics] == [(FRONT, 4), (REAR, 4)]
        assert (bag.start_ns, bag.end_ns) == (T0, T0 + 3 * PERIOD + 5_000_000)
        found = list(bag.images(bag.image_topics))
        assert [(one.topic, one.index) for one in found] == [
            (topic, index) for index in range(4) for topic in (FRONT, REAR)]
        assert [one.stamp_ns for one in found] == [
            T0 + index * PERIOD + offset for index in range(4) for offset in (0, 5_000_000)]
        assert [one.log_ns for one in found] == [one.stamp_ns for one in found]
        assert {one.frame_id for one in found} == {'camera'}
        for one in found:
            image = one.read()
            assert image.pixels.shape == (6, 8, 3) and image.encoding == 'bgr8'
            assert (image.pixels == one.index + 1).all()
        assert bag.problems == ()
