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

"""What the kernel says of memory, from recorded trees and from this machine."""

from c7_inference_ros.runtime.process_memory import available_bytes
from c7_inference_ros.runtime.process_memory import rss_bytes
from c7_inference_ros.runtime.process_memory import trim
import numpy as np


def write(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_shared_memory_is_not_counted(tmp_path):
    write(tmp_path, {'proc/self/status': 'Name:\tx\nVmRSS:\t 100 kB\nRssShmem:\t 30 kB\n'})
    assert rss_bytes(tmp_path) == 70 * 1024


def test_old_kernels_without_shares_of_the_resident_set(tmp_path):
    write(tmp_path, {'proc/self/status': 'VmRSS:\t 100 kB\n'})
    assert rss_bytes(tmp_path) == 100 * 1024


def test_nothing_to_read_is_none(tmp_path):
    assert rss_bytes(tmp_path) is None
    assert available_bytes(tmp_path) is None


def test_available_is_the_estimate_of_the_kernel(tmp_path):
    write(tmp_path, {'proc/meminfo': 'MemTotal: 900 kB\nMemAvailable: 500 kB\n'})
    assert available_bytes(tmp_path) == 500 * 1024


def test_the_tightest_limit_of_a_container_counts(tmp_path):
    group = 'sys/fs/cgroup/system.slice/docker.scope'
    write(tmp_path, {
        'proc/meminfo': 'MemAvailable: 500 kB\n',
        'proc/self/cgroup': '0::/system.slice/docker.scope\n',
        f'{group}/memory.max': '300000\n', f'{group}/memory.current': '250000\n',
        f'{group}/memory.stat': 'anon 1\ninactive_file 20000\n',
        'sys/fs/cgroup/system.slice/memory.max': 'max\n',
        'sys/fs/cgroup/system.slice/memory.current': '1\n'})
    assert available_bytes(tmp_path) == 70000
    write(tmp_path, {'sys/fs/cgroup/system.slice/memory.max': '1000\n'})
    assert available_bytes(tmp_path) == 999
    write(tmp_path, {'sys/fs/cgroup/system.slice/memory.current': '2000\n'})
    assert available_bytes(tmp_path) == 0


def test_growth_and_return_of_this_process():
    before = rss_bytes()
    block = np.ones(64 << 20, np.uint8)
    grown = rss_bytes() - before
    assert 60 << 20 < grown < 80 << 20
    del block
    trim()
    assert rss_bytes() - before < 8 << 20
    assert available_bytes() > 0
