r"""Depth from a webcam or any other camera of V4L2, by the driver usb_cam.

ros2 launch depth_perception usb_cam.launch.py driver:=true camera_info_url:=file:///home/me/cam.yaml
ros2 launch depth_perception usb_cam.launch.py driver:=true hfov_deg:=63.0    # not calibrated
"""

from launch import LaunchContext, LaunchDescription
from launch.actions import OpaqueFunction
from launch_ros.actions import Node

from depth_perception.tools import launch_others as others
from depth_perception.tools import launch_parts as parts

IMAGE_TOPIC = ('image_raw', 'Topic of the camera images.')
VIDEO_DEVICE = ('/dev/video0', 'With driver: the camera.')
CAMERA_INFO_URL = ('', 'With driver: calibration of this camera, file:///path/to/it.yaml; metres '
                   'come from its focal length.')
HFOV_DEG = ('', 'Horizontal field of view to assume while the camera is not calibrated, in '
            'degrees; empty: as in params_file, which has none.')


def generate_launch_description() -> LaunchDescription:
    """Return the arguments, then the nodes: a function, because they depend on the arguments."""
    return LaunchDescription([
        *parts.arguments(image_topic=IMAGE_TOPIC, driver=others.DRIVER, video_device=VIDEO_DEVICE,
                         camera_info_url=CAMERA_INFO_URL, hfov_deg=HFOV_DEG),
        OpaqueFunction(function=_actions)])


def _actions(context: LaunchContext) -> list:
    guess = {}
    if parts.value(context, 'hfov_deg'):
        guess['fallback_hfov_deg'] = parts.typed('hfov_deg', float)
    return [*parts.transport(context), *_driver(context), parts.depth_node(context, guess),
            parts.frames(context), parts.rviz(context, 'depth_node')]


def _driver(context: LaunchContext) -> list:
    if not others.wants_driver(context):
        return []
    others.share_of('usb_cam')  # says how to install it
    given = {name: parts.typed(name, str) for name in ('video_device', 'camera_info_url')}
    # yuyv: the camera's own pixels, which our node reads as they are.
    given |= {'pixel_format': 'yuyv', 'frame_id': parts.typed('optical_frame', str)}
    return [Node(package='usb_cam', executable='usb_cam_node_exe', name='usb_cam', output='screen',
                 parameters=[given])]
