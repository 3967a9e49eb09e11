"""Parameters of a node, declared from one frozen dataclass.

Each field made with :func:`parameter` becomes a ROS parameter with a description, unit and range,
so that ``ros2 param describe`` is the manual::

    @dataclass(frozen=True)
    class CameraConfig:
        rate_hz: float = parameter(30.0, 'frames a second', unit='Hz', limits=(0.1, 240.0))

    self._settings = ParameterServer(self, CameraConfig)   # in the constructor of the node
    self._settings.check()                                 # in on_configure: ParameterError
    self._settings.config.rate_hz                          # always the current value

A wrong value at start does not raise in the constructor: the default takes its place (values that
only do not fit together stay), :meth:`ParameterServer.check` says what is wrong, and a later
``ros2 param set`` puts it right.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import Field, field, fields, replace
import difflib
from typing import Any, Generic, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.node import Node
from rclpy.parameter import Parameter

from depth_perception.nodes._parameter_files import names_for_every_node

Config = TypeVar('Config')

# Declared by rclpy itself, or by other tools, on every node; never ours to judge.
ROS_NAMES = ('use_sim_time', 'start_type_description_service', 'qos_overrides.')
_INT_MAX = 2**31 - 1
# What rclpy takes in qos_overrides.<topic>.<publisher|subscription>.<policy>, whatever the case.
_QOS_CHOICES = {
    'history': ('keep_last', 'keep_all', 'system_default'),
    'reliability': ('reliable', 'best_effort', 'system_default'),
}


class ParameterError(ValueError):
    """A parameter has a wrong name, type or value; the message gives the rule and the way out."""


def parameter(
    default: Any,
    description: str,
    *,
    name: str | None = None,
    unit: str = '',
    limits: tuple[float, float] | None = None,
    choices: Sequence[str] = (),
    read_only: bool = False,
    at_configure: bool = False,
    names_file: bool = False,
) -> Any:
    """Return a dataclass field that :class:`ParameterServer` declares as a ROS parameter.

    Parameters
    ----------
    default : bool, int, float, str, or a tuple of these that is not empty
    description : str
        One sentence; the unit is added to it.
    name : str, optional
        Dotted ROS name, such as ``point_cloud.stride``; the field's name when left out.
    unit : str
        Such as ``m`` or ``Hz``.
    limits : tuple of float, optional
        Lowest and highest allowed value, both included; ``inf`` leaves an end open.
    choices : sequence of str
        The only allowed values.
    read_only : bool
        Set at start only; rclpy itself refuses a later change.
    at_configure : bool
        Read when the node is configured: a change is refused until the node is cleaned up.
    names_file : bool
        Set again to the same value it has changed as well: the file may be another one.
    """
    return field(default=default, metadata={
        'description': description, 'name': name, 'unit': unit, 'limits': limits,
        'choices': tuple(choices), 'read_only': read_only, 'at_configure': at_configure,
        'names_file': names_file})


def ros_name(item: Field) -> str:
    """Return the ROS name of a dataclass field: its dotted name, else the field's own."""
    return item.metadata['name'] or item.name


def descriptor(item: Field) -> ParameterDescriptor:
    """Return what ``ros2 param describe`` shows of a field."""
    rules = item.metadata
    unit = f' [{rules["unit"]}]' if rules['unit'] else ''
    result = ParameterDescriptor(description=rules['description'] + unit)
    result.read_only = rules['read_only']
    if rules['choices']:
        result.additional_constraints = 'one of: ' + ', '.join(rules['choices'])
    if rules['limits'] and isinstance(item.default, float):
        low, high = map(float, rules['limits'])
        result.floating_point_range = [FloatingPointRange(from_value=low, to_value=high)]
    elif rules['limits']:
        low, high = (int(max(-_INT_MAX, min(_INT_MAX, end))) for end in rules['limits'])
        result.integer_range = [IntegerRange(from_value=low, to_value=high)]
    return result


def _typed(name: str, value: Any, default: Any) -> Any:
    """Return `value` in the type of `default`; whole numbers serve as floats."""
    if isinstance(default, tuple):
        element = default[0]
        if isinstance(value, (str, bytes)) or not hasattr(value, '__iter__'):
            raise ParameterError(f'{name} is {value!r}; it must be a list, such as [{element!r}]')
        return tuple(_typed(name, each, element) for each in value)
    if isinstance(default, float) and type(value) is int:
        return float(value)
    if type(value) is not type(default):
        raise ParameterError(
            f'{name} is {value!r} ({type(value).__name__}); it must be of type '
            f'{type(default).__name__}: write it like {default!r}'
        )
    return value


def checked(item: Field, value: Any) -> Any:
    """Return `value` in the field's type, inside its limits and choices.

    Raises
    ------
    ParameterError
        Naming the parameter, the value, and what is allowed.
    """
    name, rules = ros_name(item), item.metadata
    value = _typed(name, value, item.default)
    if rules['choices'] and value not in rules['choices']:
        raise ParameterError(f'{name} is {value!r}; choose one of: {", ".join(rules["choices"])}')
    if rules['limits']:
        low, high = rules['limits']
        if not low <= value <= high:  # NaN fails here too
            unit = f' {rules["unit"]}' if rules['unit'] else ''
            raise ParameterError(f'{name} is {value}; it must lie between {low} and {high}{unit}')
    return value


def _unchecked(config_type: type[Config], values: dict[str, Any]) -> Config:
    """Return a config whose values do not fit together: one `param set` shall put it right."""
    config = object.__new__(config_type)
    for item in fields(config_type):
        object.__setattr__(config, item.name, values.get(item.name, item.default))
    return config


def _as_ros(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


class ParameterServer(Generic[Config]):
    """Declares a dataclass on a node and keeps :attr:`config` equal to the node's parameters.

    Parameters
    ----------
    node : rclpy.node.Node
    config_type : type
        Frozen dataclass of :func:`parameter` fields; its ``__post_init__`` may raise ValueError
        for values that do not fit together.
    on_change : callable, optional
        ``on_change(config, names)`` before a change takes effect, with the field names that
        change; a ValueError refuses it, its text is what the user reads. May be set later too.
    on_refused : callable
        Gets the reason of each refusal as well.

    Attributes
    ----------
    config : Config
        Current values; replaced as a whole, so a reference taken for one frame is consistent.
    frozen : bool
        True while the node is configured: then fields with ``at_configure`` refuse a change.
    """

    def __init__(
        self,
        node: Node,
        config_type: type[Config],
        on_change: Callable[[Config, set[str]], None] | None = None,
        on_refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.on_change = on_change
        self._on_refused = on_refused
        self.frozen = False
        self._node = node
        self._fields = {ros_name(item): item for item in fields(config_type)}
        self._problems: dict[str, str] = {}
        # There is no public way to the overrides; this attribute is the same from Foxy to Rolling.
        overrides = {name: given.value for name, given in node._parameter_overrides.items()}
        self._find_unknown(overrides)
        self._find_wrong_qos(overrides)
        self.config = self._build(config_type, overrides)
        for name, item in self._fields.items():
            value = _as_ros(getattr(self.config, item.name))
            node.declare_parameter(name, value, descriptor(item), ignore_override=True)
        node.add_on_set_parameters_callback(self._on_set)
        if hasattr(node, 'add_pre_set_parameters_callback'):  # Iron and newer
            node.add_pre_set_parameters_callback(self._whole_numbers_to_floats)

    def check(self) -> None:
        """Raise ParameterError naming everything that was wrong at start and still is."""
        if self._problems:
            raise ParameterError('; '.join(self._problems.values()))

    def _build(self, config_type: type[Config], overrides: dict[str, Any]) -> Config:
        values = {}
        for name, item in self._fields.items():
            if name not in overrides:
                continue
            try:
                values[item.name] = checked(item, overrides[name])
            except ParameterError as error:
                self._problems[name] = str(error)
        try:
            return config_type(**values)
        except ValueError as error:  # the values do not fit together
            self._problems[''] = str(error)
            return _unchecked(config_type, values)

    def _find_unknown(self, overrides: dict[str, Any]) -> None:
        unknown = [n for n in overrides if n not in self._fields and not n.startswith(ROS_NAMES)]
        shared = names_for_every_node(self._node.get_name()) if unknown else set()
        for name in unknown:
            text = f'unknown parameter {name!r}{self._nearest(name)}'
            if name in shared:
                self._node.get_logger().warning(f'{text}; ignored, as it stands under a wildcard')
            else:
                self._problems[f'unknown {name}'] = text

    def _find_wrong_qos(self, overrides: dict[str, Any]) -> None:
        # rclpy itself finds them when it creates the publisher, and raises as if it were a bug.
        for name, value in overrides.items():
            policy = name.rpartition('.')[2] if name.startswith('qos_overrides.') else ''
            choices = _QOS_CHOICES.get(policy)
            if choices and str(value).lower() not in choices:
                rule = f'choose one of: {", ".join(choices)}'
            elif policy == 'depth' and not (type(value) is int and value >= 0):
                rule = 'it must be a whole number of messages'
            else:
                continue
            self._problems[f'qos {name}'] = f'{name} is {value!r}; {rule}, and start the node anew'

    def _nearest(self, name: str) -> str:
        def likeness(known: str) -> float:
            pairs = ((name, known), (name.rpartition('.')[2], known.rpartition('.')[2]))
            return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in pairs)

        return f'; the nearest known one is {max(self._fields, key=likeness)!r}'

    def _whole_numbers_to_floats(self, given: list[Parameter]) -> list[Parameter]:
        def convert(each: Parameter) -> Parameter:
            item = self._fields.get(each.name)
            if item and isinstance(item.default, float) and type(each.value) is int:
                return Parameter(each.name, Parameter.Type.DOUBLE, float(each.value))
            return each

        return [convert(each) for each in given]

    def _on_set(self, given: list[Parameter]) -> SetParametersResult:
        mine = {each.name: each.value for each in given if each.name in self._fields}
        if not mine:  # ROS's own, such as use_sim_time: nothing of ours is put right by these
            return SetParametersResult(successful=True)
        try:
            self._apply(mine)
        except (ValueError, OSError) as error:
            self._on_refused(str(error))
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    def _apply(self, given: dict[str, Any]) -> None:
        values = {self._fields[n].name: checked(self._fields[n], v) for n, v in given.items()}
        changed = {n for n, value in values.items() if getattr(self.config, n) != value}
        changed |= {self._fields[n].name for n in given if self._fields[n].metadata['names_file']}
        late = [n for n in given if self._fields[n].metadata['at_configure']
                and self._fields[n].name in changed]
        if self.frozen and late:
            raise ParameterError(
                f'{", ".join(late)} is read when the node is configured; '
                'first `ros2 lifecycle set NODE deactivate`, then cleanup, set it, and configure'
            )
        candidate = replace(self.config, **values)
        if changed and self.on_change is not None:
            self.on_change(candidate, changed)
        self.config = candidate
        for name in (*given, ''):
            self._problems.pop(name, None)
