"""The contract of an exported model: what goes in, what comes out, and in which unit.

It is stored as JSON (see `model_spec`); this module holds its fields and their rules.
"""

from __future__ import annotations

from dataclasses import MISSING, asdict, dataclass, field, fields
import difflib
import json
import math
from typing import Any

FORMAT_VERSION = 1
OUTPUT_KINDS = ('metric', 'inverse', 'log', 'relative')
CHANNEL_ORDERS = ('rgb', 'bgr')
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ModelError(ValueError):
    """A model that cannot be used: not found, not ONNX, damaged, or against its contract."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What must be known of a model in order to run it.

    Attributes
    ----------
    name, architecture : str
        For people and diagnostics.
    input_height, input_width : int
        Nominal size of the network input, pixels.
    size_multiple : int
        0: the input size is fixed. k: any height and width that are multiples of k.
    channel_order : str
        ``rgb`` or ``bgr``: the order of the input's channels.
    mean, std : three floats
        Of x / 255, in the order of the input's channels.
    frames : int
        1, or N for a focus stack: as many as the model was trained on.
    frames_range : two ints, or empty
        The fewest and the most frames that a stack may have; empty: exactly `frames`.
    extra_inputs : tuple of str
        Names of inputs beside ``image``; ``focus_distances`` is float32 (1, N), metres: each
        distance times canonical_focal_px / f_px_at_input, where there is a canonical focal length.
    blur_scale_range : two floats or None
        Of a focus stack: between which values the blur scale f^2 / (F-number * pixel pitch) of
        the cameras lay in training, in px m; a difference of one dioptre blurs to a disc of so
        many pixels. Pixels of the network input and canonical metres: a camera's own value
        counts times canonical_focal_px / its focal length in pixels. None: not known.
    output_kind : str
        ``metric``: metres; ``log``: natural logarithm of metres; ``inverse``: 1 / metres;
        ``relative``: inverse depth without a unit.
    canonical_focal_px : float or None
        Focal length in pixels of the network input for which the output is in metres:
        metres = value * f_px_at_input / canonical_focal_px. None: never rescaled.
    depth_range : two floats
        Metres between which the model was trained.
    confidence : bool
        Whether there is a second output with the confidence, 0..1.
    training_data, licence : str
        Where the weights come from, and under which terms they may be used.
    accuracy : dict
        What was measured, by data set.
    provenance : dict
        How the weights came about: config, commit, what they started from, the recordings that
        they were trained on, and how much better they became; empty: not told.
    weights_sha256 : str
        Of all initializers (`model_spec.weights_sha256`); empty: not checked.
    format_version : int
        Of the contract itself.

    Raises
    ------
    ModelError
        If a value is out of its range.
    """

    name: str
    architecture: str
    input_height: int
    input_width: int
    size_multiple: int = 0
    channel_order: str = 'rgb'
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    frames: int = 1
    frames_range: tuple[int, ...] = ()
    extra_inputs: tuple[str, ...] = ()
    blur_scale_range: tuple[float, float] | None = None
    output_kind: str
    canonical_focal_px: float | None
    depth_range: tuple[float, float]
    confidence: bool = False
    training_data: str
    licence: str
    accuracy: dict[str, Any] = field(default_factory=dict, hash=False)
    provenance: dict[str, Any] = field(default_factory=dict, hash=False)
    weights_sha256: str = ''
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        for name, (holds, rule) in _RULES.items():
            value = getattr(self, name)
            if not holds(value):
                raise ModelError(f'model contract: {name} is {value!r}; it must be {rule}')
        multiple = self.size_multiple
        if multiple and (self.input_height % multiple or self.input_width % multiple):
            raise ModelError(
                f'model contract: nominal input {self.input_width}x{self.input_height} is not a '
                f'multiple of size_multiple = {multiple}')
        fewest, most = self.frames_range or (self.frames, self.frames)
        if not fewest <= self.frames <= most:
            raise ModelError(f'model contract: frames is {self.frames}, which is not within '
                             f'frames_range = {list(self.frames_range)}')

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the nominal input tensor: (1, 3, h, w), or (1, N, 3, h, w) for a stack."""
        stack = (self.frames,) if self.frames > 1 else ()
        return (1, *stack, 3, self.input_height, self.input_width)


def to_json(spec: ModelSpec) -> str:
    """The contract as JSON text; a measured NaN or infinity, which JSON has not, as null."""
    return json.dumps(_finite(asdict(spec)), sort_keys=True, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(x) for key, x in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(x) for x in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def parse_spec(text: str) -> ModelSpec:
    """Turn the JSON of a contract into a ModelSpec.

    Raises
    ------
    ModelError
        If it is not a JSON object, of another version, or has wrong, unknown or missing fields.
    """
    try:
        values = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise ModelError(f'model contract: it is not JSON ({error})') from None
    if not isinstance(values, dict):
        raise ModelError(f'model contract: it is a {type(values).__name__}; '
                         'it must be a JSON object')
    # The version comes first: another one may well have other fields.
    version = values.get('format_version', FORMAT_VERSION)
    if version != FORMAT_VERSION:
        raise ModelError(f'model contract: format_version is {version!r}, this software reads '
                         f'{FORMAT_VERSION}; update the software, or export the model again')
    _check_names(values)
    return ModelSpec(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _check_names(values: dict[str, Any]) -> None:
    known = [f.name for f in fields(ModelSpec)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'did you mean {near[0]!r}?' if near else f'known are {", ".join(known)}'
            raise ModelError(f'model contract: unknown field {key!r}; {hint}')
    required = [f.name for f in fields(ModelSpec)
                if f.default is MISSING and f.default_factory is MISSING]
    missing = [name for name in required if name not in values]
    if missing:
        raise ModelError(f'model contract: missing are {", ".join(missing)}; add them')


def _is_int(low: int) -> Any:
    return lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_numbers(count: int, low: float = -math.inf) -> Any:
    return lambda v: (isinstance(v, tuple) and len(v) == count
                      and all(_is_number(x) and x > low for x in v))


def _is_range(value: Any, low: float) -> bool:
    return _is_numbers(2, low)(value) and value[0] < value[1]


def _is_frames_range(value: Any) -> bool:
    return value == () or (isinstance(value, tuple) and len(value) == 2
                           and all(map(_is_int(2), value)) and value[0] <= value[1])


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_RULES = {
    'format_version': (lambda v: v == FORMAT_VERSION, f'{FORMAT_VERSION} for this software'),
    'name': (lambda v: _is_text(v) and bool(v), 'a non-empty text'),
    'architecture': (_is_text, 'a text'),
    'input_height': (_is_int(1), 'a whole number of at least 1'),
    'input_width': (_is_int(1), 'a whole number of at least 1'),
    'size_multiple': (_is_int(0), 'a whole number of at least 0'),
    'channel_order': (lambda v: v in CHANNEL_ORDERS, f'one of {", ".join(CHANNEL_ORDERS)}'),
    'mean': (_is_numbers(3), 'three numbers'),
    'std': (_is_numbers(3, low=0.0), 'three numbers above 0'),
    'frames': (_is_int(1), 'a whole number of at least 1'),
    'extra_inputs': (lambda v: isinstance(v, tuple) and all(map(_is_text, v)), 'a list of names'),
    'output_kind': (lambda v: v in OUTPUT_KINDS, f'one of {", ".join(OUTPUT_KINDS)}'),
    'canonical_focal_px': (lambda v: v is None or (_is_number(v) and v > 0),
                           'a number of pixels above 0, or null'),
    'frames_range': (_is_frames_range, 'two whole numbers of at least 2, the smaller one first, '
                     'or empty'),
    'blur_scale_range': (lambda v: v is None or _is_range(v, -1e-9),
                         'two numbers of at least 0, the smaller one first, or null'),
    'depth_range': (lambda v: _is_range(v, -1e-9),
                    'two distances in metres, the nearer one first'),
    'confidence': (lambda v: isinstance(v, bool), 'true or false'),
    'training_data': (_is_text, 'a text'),
    'licence': (_is_text, 'a text'),
    'accuracy': (lambda v: isinstance(v, dict), 'a mapping'),
    'provenance': (lambda v: isinstance(v, dict), 'a mapping'),
    'weights_sha256': (_is_text, 'a text'),
}
