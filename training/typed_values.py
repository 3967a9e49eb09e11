"""Plain values, as YAML gives them, into dataclasses: unknown keys and wrong types are refused."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
import dataclasses
import difflib
import types
import typing
from typing import Any


class ConfigError(ValueError):
    """A config that cannot be read, names an unknown key or holds a value of the wrong type."""


def _build(kind: type, tree: Any, where: str) -> Any:
    if not isinstance(tree, Mapping):
        raise ConfigError(f'{where or "config"} is {tree!r}; it must be a mapping of keys')
    every = typing.get_type_hints(kind)
    hints = {item.name: every[item.name] for item in dataclasses.fields(kind)}
    refuse_unknown(tree, hints, where)
    for item in dataclasses.fields(kind):
        required = (item.default, item.default_factory) == (dataclasses.MISSING,) * 2
        if required and item.name not in tree:
            raise ConfigError(f'key {where}{item.name} is missing')
    values = {key: typed_value(hints[key], value, where + key) for key, value in tree.items()}
    return kind(**values)


def refuse_unknown(tree: Mapping, known: Iterable[str], where: str) -> None:
    """Raise ConfigError for the first key of `tree` that is not known, naming the nearest."""
    known = list(known)
    for key in tree:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1, cutoff=0)
            hint = f'the nearest known is {where}{near[0]}' if near else 'there are none'
            raise ConfigError(f'unknown key {where}{key}; {hint}')


def typed_value(kind: Any, value: Any, where: str) -> Any:
    """Return `value` as the annotated type `kind`: dataclasses, tuples, dicts, plain types.

    Raises
    ------
    ConfigError
        It is of another type; the message begins with `where`.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, f'{where}.' if where else '')
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(typed_value(arguments[0], x, f'{where}.{i}') for i, x in enumerate(value))
    if origin is dict and isinstance(value, Mapping):
        return {str(k): typed_value(arguments[1], v, f'{where}.{k}') for k, v in value.items()}
    if isinstance(kind, types.GenericAlias):
        raise ConfigError(f'{where} is {value!r}; its type must be {origin.__name__}')
    return _plain(kind, value, where)


def _plain(kind: type, value: Any, where: str) -> Any:
    if kind is float and not isinstance(value, bool):
        # PyYAML reads 1e-4 as text: YAML 1.1 wants a dot in a float.
        try:
            return float(value)
        except (TypeError, ValueError):
            pass
    elif type(value) is kind:
        return value
    raise ConfigError(f'{where} is {value!r}; its type must be {kind.__name__}')
