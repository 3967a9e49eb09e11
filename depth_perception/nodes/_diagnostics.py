"""What happens to the frames of a node, counted, and once a second told on ``/diagnostics``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from enum import IntEnum
import threading
import time
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from depth_perception.nodes._codes import code_of
from depth_perception.timing import RateMeter, StageClock

PERIOD_S = 1.0
LOG_PERIOD_S = 5.0      # the same trouble is logged once in this time,
NEWS_PERIOD_S = 1.0     # and another text for it once in this
MEMORY_S = 10.0         # trouble shows as a warning for so long after it ended
LONGEST = 600           # characters of one text: a hostile message may bring names of any length


class Level(IntEnum):
    """Severity of a status, the numbers of diagnostic_msgs."""

    OK = 0
    WARN = 1
    ERROR = 2


class Finding(NamedTuple):
    """One sentence about the state of the node, and its code, a key of _codes.CODES."""

    level: Level
    text: str
    code: str


class _Trouble(NamedTuple):
    level: Level
    text: str
    code: str
    time: float


class Tally:
    """
    Counts what happens to frames, and remembers the last trouble of each kind.

    Safe to use from the executor's and the worker's thread at once.

    Parameters
    ----------
    now : callable
        Steady clock [s].

    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._troubles: dict[str, _Trouble] = {}
        self._logged: dict[str, _Trouble] = {}
        self._last_output = float('-inf')

    def count(self, name: str, number: int = 1) -> None:
        """Add ``number`` to a counter."""
        with self._lock:
            self._counts[name] += number

    def output(self) -> None:
        """Note that a frame came out."""
        with self._lock:
            self._counts['processed'] += 1
            self._last_output = self._now()

    def idle(self) -> None:
        """Note that a frame came and nobody asked for anything: of it no trouble is known."""
        with self._lock:
            self._counts['skipped.no subscriber'] += 1
            self._last_output = self._now()

    def trouble(self, name: str, text: str, level: Level, number: int = 1) -> bool:
        """
        Count a trouble, remember its text; return whether it is time to log it.

        An ERROR stands until the next output, or until nobody asks for one; after that, and for a
        WARN, the text is shown as a warning for ten seconds. An OK, which is no fault of the node,
        is shown as long.
        """
        trouble = _Trouble(level, text, code_of(name), self._now())
        with self._lock:
            self._counts[name] += number
            self._troubles[name] = trouble
            logged = self._logged.get(name)
            due = logged is None or trouble.time - logged.time >= (
                LOG_PERIOD_S if text == logged.text else NEWS_PERIOD_S)
            if due:
                self._logged[name] = trouble
        return due

    def counts(self) -> dict[str, int]:
        """All counters."""
        with self._lock:
            return dict(self._counts)

    def findings(self) -> list[Finding]:
        """The troubles that still matter, the latest first."""
        now = self._now()
        with self._lock:
            latest = sorted(self._troubles.values(), key=lambda trouble: -trouble.time)
            return [
                Finding(trouble.level if trouble.time > self._last_output
                        else min(trouble.level, Level.WARN), trouble.text, trouble.code)
                for trouble in latest
                if now - trouble.time < MEMORY_S
                or (trouble.level == Level.ERROR and trouble.time > self._last_output)
            ]


def summary(findings: Iterable[Finding], otherwise: str) -> Finding:
    """
    Sum up: the worst level, the texts that have it, and all codes, the worst first.

    ``otherwise`` is the text where there are no findings, and OK the code then.
    """
    found = sorted(findings, key=lambda finding: -finding.level)
    worst = max((finding.level for finding in found), default=Level.OK)
    texts = dict.fromkeys(finding.text for finding in found if finding.level == worst)
    codes = dict.fromkeys(finding.code for finding in found)
    return Finding(worst, '; '.join(texts) or otherwise, ' '.join(codes) or 'OK')


def clipped(text: str) -> str:
    """Return a text without its middle, if it is too long: what was got, and the way out, stay."""
    half = LONGEST // 2
    return text if len(text) <= LONGEST else f'{text[:half]} [...] {text[-half:]}'


def sentences(findings: Iterable[Finding]) -> dict[str, str]:
    """Return what is said under each code."""
    texts: dict[str, dict[str, None]] = {}
    for finding in findings:
        texts.setdefault(finding.code, {})[finding.text] = None
    return {code: '; '.join(said) for code, said in texts.items()}


class Health:
    """
    Attached to a node: counters, rates and latencies, and the status message.

    Parameters
    ----------
    node : Node
        Publishes the status and logs the warnings.
    findings : callable
        Gives what the node itself has to say, most important first.
    values : callable
        Gives the node's own key-value pairs.
    part : str
        Of a node with several cameras: the one that the status is about.

    Attributes
    ----------
    clock : StageClock
        Latency of each stage, written by the worker's thread.
    input_rate, output_rate : RateMeter
        Of time.monotonic().

    """

    def __init__(self, node: Node, findings: Callable[[], Iterable[Finding]],
                 values: Callable[[], Mapping[str, object]], part: str = '') -> None:
        self._node = node
        self._name = '/'.join(filter(None, [node.get_fully_qualified_name().lstrip('/'), part]))
        self._findings = findings
        self._values = values
        self._tally = Tally()
        self.clock = StageClock()
        self.input_rate, self.output_rate = RateMeter(), RateMeter()
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
        # steady: simulated time may stand still, and that is when one needs to know why
        node.create_timer(PERIOD_S, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def count(self, name: str, number: int = 1) -> None:
        """Add to a counter that says nothing about trouble."""
        self._tally.count(name, number)

    def received(self) -> None:
        """Note a frame that arrived."""
        self._tally.count('received')
        self.input_rate.tick(time.monotonic())

    def processed(self) -> None:
        """Note a frame that came out."""
        self._tally.output()
        self.output_rate.tick(time.monotonic())

    def idle(self) -> None:
        """Note a frame that nobody wants anything of."""
        self._tally.idle()

    def warn(self, name: str, text: str, number: int = 1) -> None:
        """Count something odd about a frame that is used all the same."""
        self._trouble(name, text, Level.WARN, number)

    def reject(self, reason: str, text: str, quiet: bool = False) -> None:
        """Count a frame that cannot be used, under ``rejected.<reason>``; ``quiet``: only that."""
        if quiet:
            self._tally.count(f'rejected.{reason}')
            return
        self._trouble(f'rejected.{reason}', f'frame rejected: {text}', Level.ERROR)

    def _trouble(self, name: str, text: str, level: Level, number: int = 1) -> None:
        text = clipped(text)
        if self._tally.trouble(name, text, level, number):
            self._node.get_logger().warning(text)

    def note(self, name: str, text: str) -> None:
        """Count what is no fault of the node, and show it for a while."""
        self._trouble(name, text, Level.OK)

    def publish(self) -> None:
        """Publish the status now."""
        message = DiagnosticArray(status=[self.status()])
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)

    def status(self) -> DiagnosticStatus:
        """Return the status as it is now."""
        now = time.monotonic()
        rate_in, rate_out = self.input_rate.rate_hz(now), self.output_rate.rate_hz(now)
        own, troubles = list(self._findings()), self._tally.findings()
        findings, rates = [*own, *troubles], f'{rate_in:.1f} Hz in, {rate_out:.1f} Hz out'
        # what is no fault of the node is among the values, and does not hide its rates
        found = summary(findings, rates)
        text = found.text if found.level else summary(own, rates).text
        values = {'codes': found.code, **sentences(findings), **self._values(),
                  'input rate [Hz]': f'{rate_in:.2f}',
                  'output rate [Hz]': f'{rate_out:.2f}', 'received': 0, 'processed': 0,
                  'overwritten': 0,
                  **self._tally.counts(), **self._latencies()}
        return DiagnosticStatus(
            # a byte in Python: b'\x02', as DiagnosticStatus.ERROR is
            level=bytes([found.level]), message=text,
            name=self._name, hardware_id=self._node.get_name(),
            values=[KeyValue(key=key, value=str(value)) for key, value in values.items()])

    def _latencies(self) -> dict[str, str]:
        return {f'{stage} {name} [ms]': f'{value:.2f}'
                for stage, quantiles in self.clock.summary().items()
                for name, value in (('p50', quantiles.p50_ms), ('p99', quantiles.p99_ms))}
