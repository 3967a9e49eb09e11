"""One engine for all cameras of a node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rclpy.node import Node

from depth_perception.inference.batching import BatchClient, Batcher
from depth_perception.nodes._diagnostics import Finding
from depth_perception.nodes._engine import EngineHost, EngineParameters
from depth_perception.nodes._parameters import parameter


@dataclass(frozen=True)
class BatchParameters:
    """How images of several cameras share an engine."""

    max_batch_size: int = parameter(
        0, 'most images in one call of the engine; 0: one of each camera on a GPU, and one at '
        'all on the CPU, which gains nothing by more', limits=(0, 64), at_configure=True)
    batch_wait: float = parameter(
        0.005, 'longest time that an image waits for those of other cameras which are due',
        unit='s', limits=(0.0, 1.0), at_configure=True)


class SharedEngineParameters(EngineParameters, BatchParameters):
    """Both of what an engine for several cameras depends on."""


class EngineShare:
    """
    Opens the engine for the first camera that asks and closes it after the last one.

    Parameters
    ----------
    node : Node
        Has the service ``~/rebuild_engine``.
    cameras : int
        How many there are: most images in one call.

    """

    def __init__(self, node: Node, cameras: int) -> None:
        self._host = EngineHost(node)
        self._cameras = cameras
        self._batcher: Batcher | None = None
        self._users: set[CameraHost] = set()

    def host(self) -> CameraHost:
        """Return what one camera takes for the engine of its own."""
        return CameraHost(self)

    def enter(self, user: CameraHost, config: SharedEngineParameters) -> BatchClient:
        """Return an engine for a camera; ValueError as EngineHost.open."""
        if not self._users:
            most = min(config.max_batch_size or self._cameras, self._cameras)
            engine = self._host.open(config, batch=most,
                                     batch_on_cpu=config.max_batch_size > 0)
            self._batcher = Batcher(engine, max_batch=config.max_batch_size,
                                    wait_s=config.batch_wait)
        self._users.add(user)
        return self._batcher.client()

    def leave(self, user: CameraHost) -> None:
        """Close the engine once nobody uses it."""
        if user in self._users:
            self._users.remove(user)
            if not self._users:
                self._batcher = None
                self._host.close()

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the engine."""
        return self._host.findings()

    def values(self) -> dict[str, object]:
        """Give what runs the model, and how many images at once."""
        batch = {} if self._batcher is None else {'batch': self._batcher.describe()}
        return {**self._host.values(), **batch}


class CameraHost:
    """
    What one camera sees of a shared engine; stands in for its EngineHost.

    Parameters
    ----------
    share : EngineShare
        Has the engine.

    """

    def __init__(self, share: EngineShare) -> None:
        self._share = share
        self._client: BatchClient | None = None

    def open(self, config: SharedEngineParameters) -> BatchClient:
        """Return an engine; ValueError as EngineHost.open."""
        self.close()
        self._client = self._share.enter(self, config)
        return self._client

    def close(self) -> None:
        """Leave the engine to the others; there may be none."""
        if self._client is not None:
            self._client.close()
            self._client = None
        self._share.leave(self)

    def take(self) -> None:
        """Return no other model: the one of all cameras stays while the node is configured."""

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the engine."""
        return self._share.findings()

    def values(self) -> dict[str, object]:
        """Give what runs the model, and how many images at once."""
        return self._share.values()
