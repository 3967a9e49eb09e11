"""What camera drivers call their topics, so that our nodes listen to them or stand in for them.

One table for the launch files, their tests and docs/robots.md. The names were read in the
published sources of the versions that `TopicStyle.driver` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

#: Everything of one node that belongs to a style: ``('image', '/camera/image_raw')``.
Remappings = list[tuple[str, str]]


class Wiring(NamedTuple):
    """How a node is connected: its remappings, and the parameters that go with them."""

    remappings: Remappings
    parameters: dict[str, object]


@dataclass(frozen=True)
class TopicStyle:
    """
    The topics of one driver, relative to `camera`.

    Parameters
    ----------
    driver : str
        Name and version whose source was read.
    camera : str
        Namespace and name of the driver's node, as its own launch file has them.
    image, camera_info : str
        Colour image and its calibration.
    depth : str
        The sensor's own depth in the pixels of a colour image; empty: there is none.
    image_of_depth : str
        The colour image that has the pixels of `depth`.
    outputs : mapping of str to str
        What our outputs are called when we stand in for the sensor, ``{'points': ...}``.
    parameters : mapping
        Of a node that stands in for the sensor: depth in the encoding that its users expect.
    paired_parameters : mapping
        Of a node that takes the sensor's depth.
    """

    driver: str
    camera: str
    image: str
    camera_info: str
    depth: str = ''
    image_of_depth: str = ''
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)
    paired_parameters: Mapping[str, object] = field(default_factory=dict)


STYLES = {
    'native': TopicStyle(
        driver='', camera='', image='image', camera_info='camera_info', depth='depth',
        image_of_depth='image'),
    'realsense': TopicStyle(
        driver='realsense-ros 4.55.1', camera='camera/camera',
        image='color/image_raw', camera_info='color/camera_info',
        depth='aligned_depth_to_color/image_raw', image_of_depth='color/image_raw',
        outputs={'depth/image_rect': 'aligned_depth_to_color/image_raw',
                 'depth/camera_info': 'aligned_depth_to_color/camera_info',
                 'points': 'depth/color/points'},
        parameters={'openni_depth_mode': True}),
    'zed': TopicStyle(
        driver='zed-ros2-wrapper 5.4.1', camera='zed/zed_node',
        image='rgb/color/rect/image', camera_info='rgb/color/rect/camera_info',
        depth='depth/depth_registered', image_of_depth='rgb/color/rect/image',
        outputs={'depth/image_rect': 'depth/depth_registered',
                 'depth/camera_info': 'depth/camera_info',
                 'points': 'point_cloud/cloud_registered'},
        parameters={'openni_depth_mode': False}),
    'oak': TopicStyle(
        driver='depthai-ros 2.10.3', camera='oak',
        image='rgb/image_raw', camera_info='rgb/camera_info',
        # The depth has no distortion, the raw image has; one camera_info serves both.
        depth='stereo/image_raw', image_of_depth='rgb/image_rect',
        outputs={'depth/image_rect': 'stereo/image_raw', 'depth/camera_info': 'stereo/camera_info',
                 'points': 'points'},
        parameters={'openni_depth_mode': True},
        paired_parameters={'rectify': 'never'}),
}


def style(name: str) -> TopicStyle:
    """Return the style called `name`.

    Raises
    ------
    ValueError
        There is none; the message lists those that exist.
    """
    if name not in STYLES:
        raise ValueError(f'no topic_style is called {name!r}; there are {", ".join(STYLES)}')
    return STYLES[name]


def beside(topic: str, name: str) -> str:
    """Return another topic in the namespace of `topic`: ``/a/image_raw`` -> ``/a/<name>``."""
    return '/'.join([*topic.split('/')[:-1], name])


def inputs(names: TopicStyle, *, camera: str = '', image_topic: str = '',
           camera_info_topic: str = '') -> Remappings:
    """Return the remappings of a node that listens to a camera.

    Parameters
    ----------
    camera : str
        Namespace and name of the driver's node; empty: as in the style.
    image_topic, camera_info_topic : str
        What the user gave, it wins; an info that was not given lies beside such an image.
    """
    info = camera_info_topic or (beside(image_topic, 'camera_info') if image_topic
                                 else _under(names, camera, names.camera_info))
    return [('image', image_topic or _under(names, camera, names.image)), ('camera_info', info)]


def of_cameras(names: Sequence[str], image_topics: Sequence[str] = ()) -> Remappings:
    """Return the remappings of a node that listens to several cameras.

    Parameters
    ----------
    names : sequence of str
        Of the cameras.
    image_topics : sequence of str
        One for each, camera_info lies beside it; none: ``NAME/image``.

    Raises
    ------
    ValueError
        There are no cameras, or more or fewer topics than cameras.
    """
    if not names:
        raise ValueError('cameras is empty; name at least one, such as cameras:=front,rear')
    topics = image_topics or [f'{name}/image' for name in names]
    if len(topics) != len(names):
        raise ValueError(f'there are {len(topics)} image_topics for {len(names)} cameras '
                         f'({", ".join(names)}); give one for each')
    return [pair for name, topic in zip(names, topics) for pair in (
        (f'{name}/image', topic), (f'{name}/camera_info', beside(topic, 'camera_info')))]


def outputs(names: TopicStyle, camera: str = '') -> Wiring:
    """Return how a node that makes depth stands in for the sensor."""
    return Wiring([(f'~/{ours}', _under(names, camera, theirs))
                   for ours, theirs in names.outputs.items()], dict(names.parameters))


def paired(names: TopicStyle, *, camera: str = '', image_topic: str = '',
           camera_info_topic: str = '', depth_topic: str = '') -> Wiring:
    """Return how a node takes image and depth of an RGB-D camera; see `inputs`.

    Its outputs keep their own names: those of the style are taken, by the sensor.
    """
    info = inputs(names, camera=camera, image_topic=image_topic,
                  camera_info_topic=camera_info_topic)[1]
    remappings = [('image', image_topic or _under(names, camera, names.image_of_depth)), info,
                  ('depth', depth_topic or _under(names, camera, names.depth))]
    # An image that the user chose may well be a distorted one.
    return Wiring(remappings, {} if image_topic else dict(names.paired_parameters))


def _under(names: TopicStyle, camera: str, topic: str) -> str:
    camera = (camera or names.camera).rstrip('/')
    return f'{camera}/{topic}' if camera else topic
