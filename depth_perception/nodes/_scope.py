"""A node as one of its cameras sees it: all names lie under the camera's."""

from __future__ import annotations

from typing import Any

from rclpy.node import Node


class Scope:
    """
    Puts the names of topics and services under the name of a camera; all else is the node's own.

    ``image`` becomes ``front/image`` and ``~/points`` becomes ``~/front/points``, so that what is
    written for a node with one camera serves each of several.

    Parameters
    ----------
    node : Node
        Has everything.
    name : str
        Of the camera.

    """

    def __init__(self, node: Node, name: str) -> None:
        self._node = node
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        """Give what the node has."""
        return getattr(self._node, attribute)

    def scoped(self, name: str) -> str:
        """Return the name under the camera's; an absolute name stays as it is."""
        if name.startswith('/'):
            return name
        if name.startswith('~/'):
            return f'~/{self._name}/{name[2:]}'
        return f'{self._name}/{name}'

    def resolve_topic_name(self, topic: str, **options: Any) -> str:
        """Return the full name of a topic of this camera."""
        return self._node.resolve_topic_name(self.scoped(topic), **options)

    def create_publisher(self, msg_type: type, topic: str, *args: Any, **options: Any) -> Any:
        """Create a publisher on a topic of this camera."""
        return self._node.create_publisher(msg_type, self.scoped(topic), *args, **options)

    def create_subscription(self, msg_type: type, topic: str, *args: Any, **options: Any) -> Any:
        """Subscribe to a topic of this camera."""
        return self._node.create_subscription(msg_type, self.scoped(topic), *args, **options)

    def create_service(self, srv_type: type, srv_name: str, *args: Any, **options: Any) -> Any:
        """Offer a service of this camera."""
        return self._node.create_service(srv_type, self.scoped(srv_name), *args, **options)

    def get_logger(self) -> Any:
        """Return a logger that names the camera."""
        return self._node.get_logger().get_child(self._name)
