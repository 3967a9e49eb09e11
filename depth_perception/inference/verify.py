"""Does an engine give the depth that its model gives? Asked before it serves a single frame.

An engine is compared with ONNX Runtime in FP32 on the CPU, on the pictures of ``models/verify``
(photographs and rendered rooms) and on noise. Compared is what a robot would get: metres (of a
relative model its values, in units of their spread). For each picture and output

- ``nonfinite``: pixels that are NaN or infinite and finite in the reference. None is allowed;
- ``drift``: by how much all of it is too large or too small, the median ratio less 1. A drift is
  a wrong map at any averaging, and changes from frame to frame where it comes from the engine;
- ``median``: median of the relative error, blind to a few pixels on edges;
- ``p99``: its 99th percentile, for errors at a place: a dead channel, a wrong border.

Where the limits come from. Rounding: the shipped network in FP16, each tensor rounded, has at most
0.0003 of drift and median and 0.0007 of p99 over all pictures. Use: at 3 m 0.5 % are 15 mm, below
what a depth camera resolves there and a tenth of the error of a good network. So floating-point
engines get 0.005 for drift and median and 0.02 for p99: 17 and 28 times the rounding, which leaves
room for deeper networks, and well below the faults that were tried (a first-layer weight 5 % too
large: 0.011 and 0.031; a dead first-layer channel: 0.18 and 0.30; red and blue exchanged: 0.27 and
0.51; FP16 that overflows: NaN). A fault that stays below, such as 5 % on a weight that no picture
reaches, does not move the depth either. INT8 has 255 steps for each tensor: it gets 0.02, 0.04 and
0.15, still below the faults that would be seen on a map; whether its speed is worth so much is the
user's choice, since INT8 is never chosen by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
import re
from typing import Any, NamedTuple

import numpy as np

from depth_perception.estimator import Engine
from depth_perception.inference import BackendError
from depth_perception.inference.verification_pictures import (
    PICTURES,
    Picture,
    verification_pictures,
)
from depth_perception.model_contract import ModelSpec
from depth_perception.preprocessing import ImageError

__all__ = ['FALL_BACK', 'PICTURES', 'Comparison', 'Limits', 'Picture', 'Verdict',
           'verification_pictures', 'verify', 'version_warnings']

_SHARES = np.array([0.05, 0.95])    # quantiles between which the values of a relative model spread


@dataclass(frozen=True)
class Limits:
    """What is allowed, see the head of this module; `confidence` is an absolute error."""

    drift: float
    median: float
    p99: float
    confidence: float


FLOAT_LIMITS = Limits(drift=0.005, median=0.005, p99=0.02, confidence=0.02)
INT8_LIMITS = Limits(drift=0.02, median=0.04, p99=0.15, confidence=0.1)
LIMITS = {'fp32': FLOAT_LIMITS, 'fp16': FLOAT_LIMITS, 'mixed': FLOAT_LIMITS, 'int8': INT8_LIMITS}

# What is tried after an engine of a precision was refused; after the last one ONNX Runtime stays.
FALL_BACK = {'fp16': ('fp16', 'mixed', 'fp32'), 'mixed': ('mixed', 'fp32'), 'fp32': ('fp32',),
             'int8': ('int8', 'fp32')}


class BadVersion(NamedTuple):
    """Versions, from the first to below the second, of which wrong depth was reported."""

    builder: str
    first: tuple[int, ...]
    fixed: tuple[int, ...]
    precisions: tuple[str, ...]
    what: str


KNOWN_BAD = (
    BadVersion('tensorrt', (10, 3), (10, 4), ('fp32', 'fp16', 'mixed', 'int8'),
               'wrong depth, or depth whose scale changes from frame to frame, with several '
               'networks (spacewalk01/depth-anything-tensorrt#49, ika-rwth-aachen '
               'ros2-depth-anything-v3-trt#16)'),
    BadVersion('tensorrt', (10, 7), (10, 8), ('fp32', 'fp16', 'mixed', 'int8'),
               'wrong depth of UniDepth, right with 10.13.2 (lpiccinelli-eth/UniDepth#135)'),
    BadVersion('tensorrt', (10, 16), (10, 17), ('fp16', 'mixed'),
               'NaN everywhere in FP16 (NVIDIA/TensorRT#4748)'),
)


@dataclass(frozen=True)
class Comparison:
    """How far one output is off for one picture; drift, median and p99 as shares of 1."""

    picture: str
    output: str
    nonfinite: int
    drift: float
    median: float
    p99: float


@dataclass(frozen=True)
class Verdict:
    """Whether an engine may serve, and why.

    Attributes
    ----------
    accepted : bool
    engine, reference : str
        The backends that were compared.
    precision : str
    reasons : tuple of str
        Why it is refused; empty where it is accepted.
    warnings : tuple of str
        What is known of its version.
    comparisons : tuple of Comparison
    """

    accepted: bool
    engine: str
    reference: str
    precision: str
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    comparisons: tuple[Comparison, ...]

    @property
    def worst(self) -> dict[str, float]:
        """The largest drift, median and p99 of any picture's depth."""
        rows = [row for row in self.comparisons if row.output == 'depth']
        return {name: max((abs(getattr(row, name)) for row in rows), default=float('nan'))
                for name in ('drift', 'median', 'p99')}

    def __str__(self) -> str:
        if not self.accepted:
            return f'{self.precision} refused: {"; ".join(self.reasons)}'
        worst = ', '.join(f'{name} {100 * value:.2f} %' for name, value in self.worst.items())
        return f'{self.precision} verified against {self.reference}: {worst}'

    def as_json(self) -> dict[str, Any]:
        """What `from_json` takes."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Verdict:
        """The verdict that was stored; ValueError where it is none."""
        try:
            rows = tuple(Comparison(**row) for row in values['comparisons'])
            return cls(**{**values, 'comparisons': rows, 'reasons': tuple(values['reasons']),
                          'warnings': tuple(values['warnings'])})
        except (TypeError, KeyError) as error:
            raise ValueError(f'stored verdict cannot be read ({error}); build the engine '
                             'again') from None


def verify(engine: Engine, reference: Engine, precision: str, *,
           pictures: Sequence[Picture] | None = None, warnings: Sequence[str] = ()) -> Verdict:
    """Compare `engine` with `reference`.

    Parameters
    ----------
    engine, reference : Engine
        Of the same model; the reference in FP32.
    precision : str
        Of the engine; decides the limits.
    pictures : sequence of Picture, optional
        `verification_pictures` of the engine's contract when left out.
    warnings : sequence of str
        To keep in the verdict, such as those of `version_warnings`.
    """
    pictures = verification_pictures(engine.spec) if pictures is None else pictures
    rows: list[Comparison] = []
    reasons: list[str] = []
    # The first picture comes again at the end: an engine must not remember.
    for picture in [*pictures, pictures[0]._replace(name=f'{pictures[0].name} again')]:
        expected = _outputs(reference, picture)
        try:
            got = _outputs(engine, picture)
        except (BackendError, ImageError) as error:
            reasons.append(f'{picture.name}: {error}')
            break
        rows += [_compare(picture.name, name, values, got.get(name), engine.spec)
                 for name, values in expected.items()]
    limits = LIMITS[precision]
    reasons += [text for row in rows for text in _excesses(row, limits)]
    return Verdict(not reasons, engine.backend, reference.backend, precision,
                   tuple(_shortened(reasons)), tuple(warnings), tuple(rows))


def version_warnings(builder: str, version: str, precision: str) -> list[str]:
    """What was reported of this version; it is verified all the same, and may well be right."""
    number = tuple(int(part) for part in re.findall(r'\d+', version))
    return [f'{builder} {version} is known for {bad.what}; update it if the engine is refused'
            for bad in KNOWN_BAD
            if builder == bad.builder and precision in bad.precisions
            and bad.first <= number < bad.fixed]


def _outputs(engine: Engine, picture: Picture) -> dict[str, np.ndarray]:
    depth, confidence = engine.infer(picture.image, **picture.extra)
    return {'depth': depth.copy()} | (
        {} if confidence is None else {'confidence': confidence.copy()})


def _compare(picture: str, output: str, expected: np.ndarray, got: np.ndarray | None,
             spec: ModelSpec) -> Comparison:
    """Compare two (h, w) float32 arrays as they come from the network."""
    if got is None or got.shape != expected.shape:
        return Comparison(picture, output, expected.size, 0.0, 0.0, 0.0)
    valid = np.isfinite(expected)
    nonfinite = int(np.count_nonzero(valid & ~np.isfinite(got)))
    valid &= np.isfinite(got)
    if not valid.any():
        return Comparison(picture, output, nonfinite, 0.0, 0.0, 0.0)
    # float64: the values may be large, and their exponential larger
    a, b = expected[valid].astype(np.float64), got[valid].astype(np.float64)
    kind = 'confidence' if output == 'confidence' else spec.output_kind
    drift, errors = _ERRORS[kind](a, b)
    return Comparison(picture, output, nonfinite, float(drift), float(np.median(errors)),
                      float(np.percentile(errors, 99)))


def _log_errors(expected: np.ndarray, got: np.ndarray) -> tuple[float, np.ndarray]:
    # beyond 700 the exponential of a float64 overflows, and the engine is wrong anyway
    difference = np.clip(got - expected, -700, 700)
    return np.expm1(np.median(difference)), np.abs(np.expm1(difference))


def _ratio_errors(expected: np.ndarray, got: np.ndarray) -> tuple[float, np.ndarray]:
    """Metres or 1 / metres; values near 0 count as a hundredth of the median."""
    floor = max(np.median(np.abs(expected)) / 100, np.finfo(np.float32).tiny)
    relative = (got - expected) / np.maximum(np.abs(expected), floor)
    return np.median(relative), np.abs(relative)


def _spread_errors(expected: np.ndarray, got: np.ndarray) -> tuple[float, np.ndarray]:
    """Values without a unit, maybe about 0: drift is that of their spread."""
    low, high = np.quantile(expected, _SHARES)
    spread = max(high - low, np.abs(expected).max() * 1e-3, np.finfo(np.float32).tiny)
    error = got - expected
    slope = np.mean((expected - expected.mean()) * error) / max(expected.var(), spread**2 * 1e-6)
    return slope, np.abs(error) / spread


def _absolute_errors(expected: np.ndarray, got: np.ndarray) -> tuple[float, np.ndarray]:
    return np.median(got - expected), np.abs(got - expected)


_ERRORS = {'log': _log_errors, 'metric': _ratio_errors, 'inverse': _ratio_errors,
           'relative': _spread_errors, 'confidence': _absolute_errors}


def _excesses(row: Comparison, limits: Limits) -> Iterator[str]:
    """Say what of a comparison is above its limit."""
    where = f'{row.output} of {row.picture}'
    if row.nonfinite:
        yield f'{where}: {row.nonfinite} pixels are NaN, infinite or missing'
    if row.output == 'confidence':
        if row.p99 > limits.confidence:
            yield f'{where}: error of {row.p99:.3f} (allowed {limits.confidence:g})'
        return
    for name in ('drift', 'median', 'p99'):
        value, limit = getattr(row, name), getattr(limits, name)
        if not abs(value) <= limit:
            yield f'{where}: {name} of {100 * value:.2g} % (allowed {100 * limit:g} %)'


def _shortened(reasons: list[str], most: int = 3) -> list[str]:
    """The first reasons and how many more there are: they go into logs and diagnostics."""
    more = len(reasons) - most
    return reasons if more <= 0 else [*reasons[:most], f'and {more} more']
