"""Depth from several cameras by one model, in one process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import re

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.nodes._engine_share import BatchParameters, EngineShare
from depth_perception.nodes._lifecycle import run
from depth_perception.nodes._parameters import ParameterError, ParameterServer, parameter
from depth_perception.nodes._pipeline import Pipeline
from depth_perception.nodes._scope import Scope
from depth_perception.nodes.depth_node import DepthConfig, DepthMaker

# What ROS takes as one part of a topic's name.
CAMERA_NAME = re.compile(r'[A-Za-z][A-Za-z0-9_]*')


@dataclass(frozen=True)
class MultiDepthConfig(DepthConfig, BatchParameters):
    """Parameters of the node; but for these they hold for each camera."""

    cameras: tuple[str, ...] = parameter(
        ('front', 'rear'), 'names of the cameras; NAME subscribes to NAME/image and '
        'NAME/camera_info and publishes under ~/NAME', read_only=True)
    model: str = parameter(
        DEFAULT_MODEL, 'name or path of an exported model, for all cameras', at_configure=True)

    def __post_init__(self) -> None:
        """Check values against each other."""
        super().__post_init__()
        for name in self.cameras:
            if not CAMERA_NAME.fullmatch(name):
                raise ParameterError(f'cameras has the name {name!r}; it must be of letters, '
                                     'digits and _, and begin with a letter')
        if len(set(self.cameras)) < len(self.cameras) or not self.cameras:
            raise ParameterError(f'cameras is {list(self.cameras)}; give each camera a name of '
                                 'its own')
        if self.scale_file and len(self.cameras) > 1:
            raise ParameterError(f'scale.file is {self.scale_file!r} for {len(self.cameras)} '
                                 'cameras; leave it empty: each then has a file of its own')


class MultiDepthNode(LifecycleNode):
    """
    Publishes for each camera what the depth node does for one.

    The camera ``front`` has the topics ``front/image``, ``front/camera_info``,
    ``~/front/depth/image_rect``, ``~/front/points`` and so on, and a status of its own.
    """

    def __init__(self) -> None:
        super().__init__('multi_depth_node')
        parameters = ParameterServer(self, MultiDepthConfig, on_refused=self._refused)
        names = _usable(parameters.config.cameras)
        share = EngineShare(self, len(names))
        self._pipelines = [self._pipeline(name, share, parameters) for name in names]
        for pipeline in self._pipelines:
            self.add_managed_entity(pipeline)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make all cameras ready, or none."""
        return self._all_or_none(super().on_configure(state), Pipeline.clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start with all cameras, or with none."""
        return self._all_or_none(super().on_activate(state), Pipeline.deactivate)

    def _all_or_none(self, result: TransitionCallbackReturn,
                     undo: Callable[[Pipeline], None]) -> TransitionCallbackReturn:
        if result != TransitionCallbackReturn.SUCCESS:
            for pipeline in self._pipelines:    # rclpy stops at the first one that fails
                undo(pipeline)
        return result

    def _pipeline(self, name: str, share: EngineShare, parameters: ParameterServer) -> Pipeline:
        scope = Scope(self, name)
        return Pipeline(scope, MultiDepthConfig, DepthMaker(scope, share.host()),
                        parameters=parameters, part=name)

    def _refused(self, reason: str) -> None:
        for pipeline in self._pipelines:
            pipeline.refused(reason)


def _usable(names: Sequence[str]) -> list[str]:
    """Return names that ROS takes; what is wrong with others is said at the configuration."""
    return [name for name in dict.fromkeys(names) if CAMERA_NAME.fullmatch(name)] or ['camera']


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run(MultiDepthNode, args)


if __name__ == '__main__':
    raise SystemExit(main())
