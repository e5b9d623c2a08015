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

"""Install the package, its launch files, configuration and models for colcon."""

from glob import glob
import os

from setuptools import find_packages
from setuptools import setup

PACKAGE = 'c7_inference_ros'


def share(folder, *patterns):
    """Return the data_files entry that installs files of a folder under the package's share."""
    files = {name for pattern in patterns for name in glob(os.path.join(folder, pattern))}
    return (f'share/{PACKAGE}/{folder}', sorted(name for name in files if os.path.isfile(name)))


setup(
    name=PACKAGE,
    version='0.1.0',
    packages=find_packages(exclude=['dev', 'dev.*', 'test', 'test.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml', 'LICENSE']),
        share('launch', '*.launch.py'),
        share('config', '*'),
        share('models', '*'),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},
    python_requires='>=3.10',
    zip_safe=True,
    author='c7_inference_ros contributors',
    author_email='c7_inference_ros@users.noreply.example.org',
    maintainer='c7_inference_ros contributors',
    maintainer_email='c7_inference_ros@users.noreply.example.org',
    description='Detection networks on camera images as a ROS 2 lifecycle node that keeps to a '
                'memory budget and tells the truth about latency, drops and heat.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            f'inference_node = {PACKAGE}.node.inference_node:main',
            f'benchmark = {PACKAGE}.tools.benchmark:main',
            f'compile_engine = {PACKAGE}.tools.compile_engine:main',
            f'doctor = {PACKAGE}.tools.doctor:main',
            f'replay = {PACKAGE}.tools.replay:main',
            f'tune = {PACKAGE}.tools.tune:main',
        ],
    },
)
