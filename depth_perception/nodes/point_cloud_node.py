"""A coloured point cloud from an image and its depth, of whatever depth camera or simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode

from depth_perception.nodes._lifecycle import run
from depth_perception.nodes._outputs import CloudOutput, DepthOutput
from depth_perception.nodes._pair_input import PairMaker, PairParameters
from depth_perception.nodes._parameter_groups import CloudParameters, DepthImageParameters
from depth_perception.nodes._pipeline import Pipeline


@dataclass(frozen=True)
class PointCloudConfig(PairParameters, DepthImageParameters, CloudParameters):
    """Parameters of the point cloud node."""

    def __post_init__(self) -> None:
        """Check values against each other."""
        self.check_range()
        self.check_colors()
        self.check_cloud()


class PointCloudNode(LifecycleNode):
    """
    Publishes ``~/points``, and depth as the depth node shows it.

    Subscribes to ``image``, ``depth`` (registered to the image) and ``camera_info``.
    """

    def __init__(self) -> None:
        super().__init__('point_cloud_node')
        maker = PairMaker(self, lambda node: [DepthOutput(node), CloudOutput(node)])
        self.add_managed_entity(Pipeline(self, PointCloudConfig, maker))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(PointCloudNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
