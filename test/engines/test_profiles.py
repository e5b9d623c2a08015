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

"""Shape ranges: what is filled in, and what is refused before TensorRT sees it."""

from c7_inference_ros.engines.building.profiles import largest_shapes
from c7_inference_ros.engines.building.profiles import NetworkInput
from c7_inference_ros.engines.building.profiles import settle_profiles
from c7_inference_ros.engines.types import OptimizationProfile
from c7_inference_ros.errors import EngineBuildError
import pytest

FIXED = NetworkInput('images', (1, 3, 416, 416))
BATCH = NetworkInput('images', (-1, 3, 320, 320))
SIZES = NetworkInput('sizes', (-1, 2))
OPEN = NetworkInput('images', (-1, 3, -1, -1))
VALUES = NetworkInput('s', (2,), True)


def profile(name='p', **shapes):
    return OptimizationProfile(name, shapes)


def test_nothing_open_needs_no_profile():
    assert settle_profiles('m', [FIXED], ()) == ()
    same = profile(images=((1, 3, 416, 416),) * 3)
    assert settle_profiles('m', [FIXED], (same,)) == ()
    assert largest_shapes([FIXED], ()) == {'images': (1, 3, 416, 416)}


def test_an_open_batch_is_one_image():
    settled, = settle_profiles('m', [BATCH, SIZES], ())
    assert settled.name == 'default'
    assert settled.shapes == {'images': ((1, 3, 320, 320),) * 3, 'sizes': ((1, 2),) * 3}


def test_an_open_batch_follows_that_of_the_others():
    wanted = profile(images=((1, 3, 320, 320), (2, 3, 320, 320), (4, 3, 320, 320)))
    settled, = settle_profiles('m', [BATCH, SIZES], (wanted,))
    assert settled.shapes['sizes'] == ((1, 2), (2, 2), (4, 2))
    assert largest_shapes([BATCH, SIZES], [settled]) == {'images': (4, 3, 320, 320),
                                                         'sizes': (4, 2)}


def test_lists_of_a_json_file_become_tuples():
    settled, = settle_profiles('m', [BATCH], (profile(images=[[1, 3, 320, 320]] * 3),))
    assert settled.shapes == {'images': ((1, 3, 320, 320),) * 3}


def test_the_largest_is_taken_by_dimension():
    wide = profile('wide', images=((1, 3, 32, 64), (1, 3, 320, 640), (1, 3, 320, 1280)))
    high = profile('high', images=((1, 3, 64, 32), (1, 3, 640, 320), (4, 3, 1280, 320)))
    settled = settle_profiles('m', [OPEN], (wide, high))
    assert [one.name for one in settled] == ['wide', 'high']
    assert largest_shapes([OPEN], settled) == {'images': (4, 3, 1280, 1280)}


def test_values_of_a_shape_tensor():
    values = profile(s=((1, 6), (2, 12), (4, 12)))
    assert settle_profiles('m', [VALUES], (values,))[0].shapes['s'] == ((1, 6), (2, 12), (4, 12))
    assert largest_shapes([VALUES], [values]) == {'s': (2,)}
    with pytest.raises(EngineBuildError, match=r'no values of the input .s., .*example {"s"'):
        settle_profiles('m', [VALUES], ())
    with pytest.raises(EngineBuildError, match='has 3 values, expected 2'):
        settle_profiles('m', [VALUES], (profile(s=((1, 2, 3),) * 3),))


@pytest.mark.parametrize('inputs, wanted, message', [
    ([OPEN], (), r"profile 'default' leaves dimensions 2, 3 of the input 'images' "
                 r'\[-1, 3, -1, -1\] open.*"images": \[\[1, 3, 640, 640\]'),
    ([BATCH], (profile(image=((1,),) * 3),), "names the input 'image'.*its inputs are images"),
    ([BATCH], (profile(images=((1, 3, 320, 320),) * 2),), 'gives 2 shapes'),
    ([BATCH], (profile(images=((1, 3, 320),) * 3),), 'has 3 dimensions, expected 4'),
    ([BATCH], (profile(images=((1, 3, 320, 321),) * 3),),
     r'dimension 3 of minimum \[1, 3, 320, 321\].* is 321, but the model fixes it to 320'),
    ([FIXED], (profile(images=((2, 3, 416, 416),) * 3),), 'the model fixes it to 1'),
    ([BATCH], (profile(images=((0, 3, 320, 320),) * 3),), 'is 0, expected 1 or more'),
    ([BATCH], (profile(images=((2, 3, 320, 320), (1, 3, 320, 320), (4, 3, 320, 320))),),
     'minimum 2, optimum 1 and maximum 4, expected minimum <= optimum <= maximum'),
    ([BATCH], (profile(), profile()), "profile 'p' is given 2 times")],
    ids=['open', 'unknown', 'two', 'rank', 'fixed', 'static', 'zero', 'order', 'twice'])
def test_refusals(inputs, wanted, message):
    with pytest.raises(EngineBuildError, match=message):
        settle_profiles('m', inputs, wanted)
