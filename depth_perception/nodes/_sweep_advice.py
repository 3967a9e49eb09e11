"""Whether stacks hold cues for depth, told on /diagnostics and, if wanted, to the camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from depth_perception.focus_cues import Verdict, judge, widened
from depth_perception.nodes._diagnostics import Finding, Level
from depth_perception.nodes._focus import sweep_command
from depth_perception.nodes._outputs import advertise

PATIENCE = 2    # stacks in a row without cues before the camera is asked for another sweep
MEANING = {
    'all sharp': 'all slices are sharp: open the aperture (a smaller f-number), come nearer, or '
                 'sweep over a wider range',
    'all blurred': 'all slices are blurred: the scene is {side} than the sweep',
    'no texture': 'the scene has no texture that could be blurred',
}


class SweepAdvice:
    """
    Judges stacks and publishes ``sweep_command``: the range over which a camera shall sweep.

    Parameters
    ----------
    node : Node
        Publishes.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._publisher = advertise(node, JointState, 'sweep_command')
        self._verdict: Verdict | None = None
        self._in_a_row = 0
        self._asked = ''

    def close(self) -> None:
        """Destroy the publisher."""
        self._node.destroy_publisher(self._publisher)

    def judge(self, images: Sequence[np.ndarray], scales: Sequence[float],
              channel_order: str) -> None:
        """Judge the slices of a stack, from near to far; see focus_cues.judge."""
        self._verdict = judge(images, scales, channel_order)
        self._in_a_row = 0 if self._verdict.kind == 'enough' else self._in_a_row + 1
        if not self._in_a_row:
            self._asked = ''

    def advise(self, header: Header, distances: Sequence[float],
               limits: tuple[float, float]) -> None:
        """Ask the camera for a wider sweep, if stacks like this one have no cues."""
        if self._in_a_row < PATIENCE:
            return
        wanted = widened(distances[0], distances[-1], self._verdict, limits)
        if np.allclose(wanted, (distances[0], distances[-1]), rtol=1e-3):
            self._asked = '; the sweep is as wide there as it may be'
            return
        self._publisher.publish(sweep_command(header, *wanted))
        self._asked = '; asked the camera to sweep over {:.3g} to {:.3g} m'.format(*wanted)

    def findings(self) -> Iterator[Finding]:
        """Say that there are too few cues, why, and what was done about it."""
        verdict = self._verdict
        if verdict is not None and verdict.kind != 'enough':
            meaning = MEANING[verdict.kind].format(
                side='nearer' if verdict.side == 'near' else 'farther away')
            yield Finding(Level.WARN, f'too few defocus cues, depth is a guess: {meaning}'
                          f'{self._asked}', 'FEW_DEFOCUS_CUES')

    def values(self) -> dict[str, object]:
        """Give the share of the textured image in which sharpness tells the depth."""
        if self._verdict is None:
            return {}
        return {'defocus cues': self._verdict.kind,
                'defocus cues [%]': f'{100 * self._verdict.share:.0f}'}
