"""Weights of a model that lie in other files: only those in the model's own folder are taken.

A path in an ONNX file comes from whoever wrote it: ``../../etc/passwd`` is not ours to read.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from depth_perception.model_contract import ModelError

_EXTERNAL = 1       # onnx.TensorProto.EXTERNAL


def external_files(model: Any, path: Path) -> list[Path]:
    """Files that hold weights of `model`, an onnx.ModelProto read from `path`.

    Raises
    ------
    ModelError
        If a file lies outside of the folder of `path` (by a link as well), or is missing.
    """
    folder = path.resolve().parent
    return [_checked(path, folder, location) for location in sorted(set(_locations(model.graph)))]


def _checked(path: Path, folder: Path, location: str) -> Path:
    file = (folder / location).resolve()
    if folder not in file.parents:
        raise ModelError(f'{path}: its weights lie in {location!r}, outside of its folder, and '
                         'are not read; export the model again with the weights beside it')
    if not file.is_file():
        raise ModelError(f'{path}: its weights cannot be read: {location!r} is missing; copy that '
                         'file beside it as well')
    return file


def _locations(graph: Any) -> Iterator[str]:
    """Where the tensors of a graph and of its sub-graphs lie."""
    tensors = [*graph.initializer]
    for sparse in graph.sparse_initializer:
        tensors += [sparse.values, sparse.indices]
    for node in graph.node:
        for attribute in node.attribute:
            tensors += [attribute.t, *attribute.tensors]
            for inner in (attribute.g, *attribute.graphs):
                yield from _locations(inner)
    for tensor in tensors:
        if tensor.data_location == _EXTERNAL:
            yield from (entry.value for entry in tensor.external_data if entry.key == 'location')
