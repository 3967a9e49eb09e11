"""Views for two eyes from an image and its depth, of whatever depth camera or simulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rclpy.lifecycle import LifecycleNode

from depth_perception.nodes._lifecycle import run
from depth_perception.nodes._pair_input import PairMaker, PairParameters
from depth_perception.nodes._parameter_groups import StereoParameters
from depth_perception.nodes._pipeline import Pipeline
from depth_perception.nodes._stereo_outputs import StereoOutput


@dataclass(frozen=True)
class StereoViewConfig(PairParameters, StereoParameters):
    """Parameters of the stereo view node."""

    def __post_init__(self) -> None:
        """Check values against each other."""
        self.check_range()
        self.check_stereo()


class StereoViewNode(LifecycleNode):
    """
    Publishes the stereo topics of the depth node.

    Subscribes to ``image``, ``depth`` (registered to the image) and ``camera_info``.
    """

    def __init__(self) -> None:
        super().__init__('stereo_view_node')
        maker = PairMaker(self, lambda node: [StereoOutput(node)])
        self.add_managed_entity(Pipeline(self, StereoViewConfig, maker))


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(StereoViewNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
