"""What the nodes that publish depth have in common: life cycle, worker, outputs, diagnostics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.lifecycle.managed_entity import ManagedEntity
from std_msgs.msg import Header

from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._frame_loop import FrameLoop
from depth_perception.nodes._lifecycle import attempt
from depth_perception.nodes._outputs import DepthFrame, Outputs
from depth_perception.nodes._parameters import ParameterServer

# What a bag or a simulator that is paused brings about.
SILENT_WHEN_PAUSED = ('SILENT_PUBLISHER', 'STAMPS_NEVER_MATCH')


class FrameMaker(Protocol):
    """What a node does itself: it makes a DepthFrame out of the messages of its inputs."""

    def configure(self, config: Any) -> Outputs:
        """Load what is needed and create the publishers; ValueError if that is impossible."""

    def activate(self, config: Any, put: Callable[[Header, Any], None], health: Health) -> None:
        """Subscribe; every complete set of messages goes to ``put``."""

    def make(self, item: Any, config: Any, health: Health) -> DepthFrame:
        """Make a frame of what was put, in the worker's thread."""

    def deactivate(self) -> None:
        """Unsubscribe; it may be so already."""

    def clean_up(self) -> None:
        """Give back what ``configure`` loaded; that may be nothing."""

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the inputs, while active."""

    def values(self) -> Mapping[str, object]:
        """Give key-value pairs for the diagnostics."""


class Pipeline(ManagedEntity):
    """
    Runs a FrameMaker through the life cycle of a node; add it as a managed entity.

    Parameters
    ----------
    node : LifecycleNode
        Gets the parameters, the publishers and the service ``~/enable``.
    config_type : type
        Frozen dataclass of the node's parameters, with those of InputParameters.
    maker : FrameMaker
        Makes the frames that are published.
    on_change : callable, optional
        ``on_change(config, names)`` before parameters change while the node is configured; a
        ValueError refuses, and its text is the reason.
    parameters : ParameterServer, optional
        Of ``config_type``, where several pipelines of a node share their parameters.
    part : str
        Which of several pipelines this is, for the diagnostics.

    """

    def __init__(self, node: LifecycleNode, config_type: type, maker: FrameMaker,
                 on_change: Callable[[Any, set[str]], None] | None = None, *,
                 parameters: ParameterServer | None = None, part: str = '') -> None:
        self._node = node
        self._maker = maker
        self._parameters = parameters or ParameterServer(
            node, config_type, on_refused=self.refused)
        self._on_change = on_change
        self._health = Health(node, self._findings, self._values, part)
        self._loop = FrameLoop(node, self._health, self._process)
        self._outputs = Outputs(node, [])
        self._state, self._fault = 'unconfigured', ''

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Make everything ready; a failure is one readable error."""
        return self._attempt('configure', self._configure, self.clean_up)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and start to work."""
        return self._attempt('activate', self._activate, self.deactivate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe; what is loaded stays so."""
        return self._attempt('deactivate', self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Give back what was loaded."""
        return self._attempt('clean up', self.clean_up)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop whatever runs."""
        return self._attempt('shut down', self._shut_down)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start anew after a transition that ended in a bug."""
        why = self._fault       # stays, until somebody tries again
        result = self._attempt('recover', self.clean_up)
        self._fault = why
        return result

    def _attempt(self, what: str, work: Callable[[], None],
                 undo: Callable[[], None] = lambda: None) -> TransitionCallbackReturn:
        def report(text: str) -> None:
            self._fault = text

        self._fault = ''
        result = attempt(self._node, what, work, report)
        if result != TransitionCallbackReturn.SUCCESS:
            undo()      # what was done by half the next try would do a second time
        return result

    def _configure(self) -> None:
        self._parameters.check()
        self._outputs = self._maker.configure(self._parameters.config)
        self._parameters.frozen = True
        self._parameters.on_change = self._on_change
        self._state = 'inactive'

    def _activate(self) -> None:
        config = self._parameters.config
        self._loop.start(config.process, config.queue_size)
        self._maker.activate(config, self._loop.put, self._health)
        self._state = 'active'

    def deactivate(self) -> None:
        """Stop to work, whatever of it began."""
        self._loop.stop()  # first: the worker uses what the maker gives up
        self._maker.deactivate()
        self._state = 'inactive'

    def clean_up(self) -> None:
        """Give back whatever was loaded."""
        self.deactivate()
        self._outputs.close()
        self._outputs = Outputs(self._node, [])
        self._maker.clean_up()
        self._parameters.frozen = False
        self._parameters.on_change = None
        self._state = 'unconfigured'

    def _shut_down(self) -> None:
        self.clean_up()
        self._state = 'finalized'

    def refused(self, reason: str) -> None:
        """Show why a parameter was refused."""
        self._health.note('parameters refused', f'parameter refused: {reason}')

    def _process(self, item: Any) -> bool:
        """Turn an item into what is subscribed; False where that is nothing."""
        if not self._outputs.wanted():
            return False
        config = self._parameters.config
        frame = self._maker.make(item, config, self._health)
        self._outputs.publish(frame, config, self._health.clock)
        return True

    def _findings(self) -> Iterator[Finding]:
        """Say why nothing comes out, or what is doubtful about it."""
        name = self._node.get_fully_qualified_name()
        if self._state == 'finalized':
            yield Finding(Level.ERROR, 'shut down for good; start the node anew', 'FINALIZED')
        elif self._state == 'unconfigured':
            yield Finding(
                Level.ERROR, f'not configured: {self._fault}', 'CONFIGURE_FAILED',
            ) if self._fault else Finding(
                Level.ERROR, f'not configured; call `ros2 lifecycle set {name} configure`',
                'UNCONFIGURED')
        elif self._state == 'inactive':
            yield Finding(
                Level.ERROR, f'not active: {self._fault}', 'ACTIVATE_FAILED',
            ) if self._fault else Finding(
                Level.WARN, f'not active; call `ros2 lifecycle set {name} activate`', 'INACTIVE')
        else:
            loop = list(self._loop.findings())
            yield from loop
            paused = any(finding.code in ('NO_CLOCK', 'CLOCK_STANDS') for finding in loop)
            yield from (finding for finding in self._maker.findings()
                        if not paused or finding.code not in SILENT_WHEN_PAUSED)
            if not self._outputs.wanted():
                yield Finding(Level.OK, 'idle: no output has a subscriber', 'IDLE')

    def _values(self) -> dict[str, object]:
        return {'state': self._state, 'process': self._parameters.config.process,
                'outputs': ' '.join(self._outputs.subscribed()), **self._maker.values()}
