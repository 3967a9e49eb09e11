"""Package depth_perception for colcon (ament_python) and for pip."""
from glob import glob
from pathlib import Path

from setuptools import find_packages, setup

PACKAGE = 'depth_perception'
HERE = Path(__file__).resolve().parent


def requirements(name):
    """Read one requirements file, without comments and references to other files."""
    lines = (line.split('#')[0].strip() for line in (HERE / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith('-')]


setup(
    name=PACKAGE,
    version='0.1.0',
    description='Metric depth, point clouds and stereo views from a single camera, as ROS 2 nodes',
    author='depth_perception maintainers',
    author_email='maintainers@example.com',
    maintainer='depth_perception maintainers',
    maintainer_email='maintainers@example.com',
    license='Apache-2.0',
    python_requires='>=3.10',
    # training/ runs from the checkout: an installed top-level "training" collides with others.
    packages=find_packages(include=[PACKAGE, PACKAGE + '.*']),
    package_data={PACKAGE: ['models/*', 'models/*/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + PACKAGE]),
        ('share/' + PACKAGE, ['package.xml']),
        ('share/' + PACKAGE + '/launch', sorted(glob('launch/*.launch.py'))),
        ('share/' + PACKAGE + '/config', sorted(glob('config/*.*'))),
        ('share/' + PACKAGE + '/config/examples', sorted(glob('config/examples/*.*'))),
        ('share/' + PACKAGE + '/config/record', sorted(glob('config/record/*.*'))),
        ('share/' + PACKAGE + '/config/sros2', sorted(glob('config/sros2/*.*'))),
    ],
    zip_safe=False,  # the models are opened by path
    # NumPy, OpenCV and the network runtimes are not named here: on a robot they are ROS's, apt's
    # or JetPack's own builds, and pip would put others over them. See requirements-robot.txt.
    install_requires=['setuptools'],
    extras_require={
        'ros': requirements('requirements-ros.txt'),
        'robot': requirements('requirements-robot.txt'),
        'demo': requirements('requirements-robot.txt') + requirements('requirements-demo.txt'),
        'training': requirements('requirements-training.txt'),
        'evaluation': requirements('requirements-evaluation.txt'),
        'tensorrt': requirements('requirements-tensorrt.txt'),
        'view': requirements('requirements-view.txt'),
        'fast': [each for each in requirements('requirements-robot.txt')
                 if each.startswith('numba')],
        'test': requirements('requirements-test.txt'),
    },
    entry_points={
        'console_scripts': [
            'camera_node = depth_perception.nodes.camera_node:main',
            'depth_node = depth_perception.nodes.depth_node:main',
            'focus_camera_node = depth_perception.nodes.focus_camera_node:main',
            'focus_depth_node = depth_perception.nodes.focus_depth_node:main',
            'multi_depth_node = depth_perception.nodes.multi_depth_node:main',
            'point_cloud_node = depth_perception.nodes.point_cloud_node:main',
            'stereo_view_node = depth_perception.nodes.stereo_view_node:main',
            'depth-perception = depth_perception.tools.cli:main',
        ],
    },
)
