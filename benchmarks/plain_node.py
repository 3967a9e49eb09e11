"""The node that one would write first, for comparison: a queue, numpy, Open3D and ``tobytes``.

Run by bench_node.py, not by hand: ``python benchmarks/plain_node.py SECONDS`` serves for a while
under the name and the topics of depth_node, then prints what each frame cost beside the engine,
in milliseconds, as JSON.
"""

from __future__ import annotations

import json
import sys
import time

import cv2
import numpy as np
import open3d
import rclpy
from sensor_msgs.msg import CameraInfo, Image, PointCloud2, PointField

from depth_perception.inference import load
from depth_perception.model_spec import DEFAULT_MODEL

FIRST = 20  # frames that do not count: they pay for buffers and page faults


class PlainNode:
    """Depth and cloud of each image, all in the callback."""

    def __init__(self) -> None:
        self.node = rclpy.create_node('depth_node')
        self.overheads_ms: list[float] = []
        self._engine = load(DEFAULT_MODEL)
        self._mean, self._std = np.array(self._engine.spec.mean), np.array(self._engine.spec.std)
        self._images = self.node.create_publisher(Image, '/depth_node/depth/image_rect', 5)
        self._clouds = self.node.create_publisher(PointCloud2, '/depth_node/points', 5)
        self._infos: list[CameraInfo] = []
        self.node.create_subscription(Image, 'image', self._receive, 5)
        self.node.create_subscription(CameraInfo, 'camera_info', self._infos.append, 5)

    def _receive(self, message: Image) -> None:
        if not self._infos:
            return
        start = time.perf_counter()
        image = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
        tensor = self._preprocess(image)
        before = time.perf_counter()
        raw, _ = self._engine.infer(tensor)
        inference = time.perf_counter() - before
        depth = cv2.resize(np.exp(raw), (message.width, message.height))
        self._images.publish(Image(
            header=message.header, height=message.height, width=message.width, encoding='32FC1',
            step=4 * message.width, data=depth.tobytes()))
        cloud = cloud_of(depth, image, self._infos[-1])
        cloud.header = message.header
        self._clouds.publish(cloud)
        self.overheads_ms.append((time.perf_counter() - start - inference) * 1e3)

    def _preprocess(self, image: np.ndarray) -> np.ndarray:
        spec = self._engine.spec
        small = cv2.resize(image, (spec.input_width, spec.input_height),
                           interpolation=cv2.INTER_AREA)
        normal = (small.astype(np.float32) / 255.0 - self._mean) / self._std
        return np.ascontiguousarray(normal.transpose(2, 0, 1)[None].astype(np.float32))


def cloud_of(depth: np.ndarray, image: np.ndarray, info: CameraInfo) -> PointCloud2:
    """Make a cloud with Open3D."""
    rgbd = open3d.geometry.RGBDImage.create_from_color_and_depth(
        open3d.geometry.Image(image), open3d.geometry.Image(depth), 1.0, 100.0, False)
    k = info.k
    cloud = open3d.geometry.PointCloud.create_from_rgbd_image(
        rgbd, open3d.camera.PinholeCameraIntrinsic(
            info.width, info.height, k[0], k[4], k[2], k[5]))
    points = np.asarray(cloud.points, np.float32)
    colors = (np.asarray(cloud.colors) * 255).astype(np.uint32)
    packed = (colors[:, 0] << 16 | colors[:, 1] << 8 | colors[:, 2]).view(np.float32)
    data = np.column_stack([points, packed]).astype(np.float32)
    fields = [PointField(name=n, offset=4 * i, datatype=7, count=1)
              for i, n in enumerate(('x', 'y', 'z', 'rgb'))]
    return PointCloud2(height=1, width=len(data), fields=fields, point_step=16,
                       row_step=16 * len(data), data=data.tobytes())


def main() -> None:
    """Serve for the seconds given, then print the cost of each frame."""
    rclpy.init()
    plain = PlainNode()
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(plain.node)
    end = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    plain.node.destroy_node()
    rclpy.shutdown()
    print(json.dumps(plain.overheads_ms[FIRST:]))


if __name__ == '__main__':
    main()
