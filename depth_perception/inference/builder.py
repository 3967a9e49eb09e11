"""What all builders of engines have in common."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from depth_perception.estimator import Engine
from depth_perception.model_spec import ModelSpec

Size = tuple[int, int]      # height, width of the network input
# progress(share done 0..1, what is being done) -> False to stop the build
Progress = Callable[[float, str], bool]


class BuildStopped(Exception):
    """A build that ended early because ``progress`` said so; nothing is left of it."""


@dataclass(frozen=True)
class BuildOptions:
    """How an engine is built; all of it is part of the cache's key.

    Attributes
    ----------
    precision : str
        ``fp32``, ``fp16``, ``mixed`` or ``int8``.
    smallest, typical, largest : (height, width)
        Of the network input, pixels; all equal where the size is fixed.
    flags : dict of str
        What else a builder takes, by name.
    """

    precision: str
    smallest: Size
    typical: Size
    largest: Size
    flags: dict[str, str] = field(default_factory=dict, hash=False)


def build_options(values: dict[str, Any]) -> BuildOptions:
    """The options that a record holds."""
    sizes = {name: tuple(values[name]) for name in ('smallest', 'typical', 'largest')}
    return BuildOptions(**{**values, **sizes})


class Builder(Protocol):
    """Turns a model into an engine that is worth keeping.

    Attributes
    ----------
    name : str
        ``tensorrt``, ``onnxruntime graph``.
    version : str
        Of the library that builds and runs it; an engine of another version is not used.
    device : str
        What it is built for, such as ``NVIDIA H200 sm_90`` or the name of the CPU.
    """

    name: str
    version: str
    device: str

    def build(self, model_path: Path, options: BuildOptions, progress: Progress) -> bytes:
        """Build; raises BackendError if it cannot, BuildStopped if `progress` returns False."""

    def load(self, blob: bytes, spec: ModelSpec) -> Engine:
        """Make a warm engine of what `build` gave; raises BackendError if it cannot."""
