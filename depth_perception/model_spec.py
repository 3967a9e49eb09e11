"""The ONNX file of a model: its contract read, written and checked against the graph.

The contract is JSON in the file's metadata under the key ``depth_perception``. A foreign model
gets the same JSON as a file beside it: ``FILE.onnx.json``.

A model for one frame has the input ``image`` float32 (1, 3, h, w), for N frames (a focus stack)
(1, N, 3, h, w), normalised as ``(x / 255 - mean) / std``, and beside it the inputs that the
contract names, such as ``focus_distances`` float32 (1, N); the outputs are ``depth`` float32
(1, 1, h, w) and, where ``confidence`` is true, ``confidence`` of the same shape, 0..1.
"""

from __future__ import annotations

from collections.abc import Iterator
import contextlib
from dataclasses import replace
import hashlib
import os
from pathlib import Path
import tempfile
from typing import Any

from google.protobuf.message import DecodeError
import onnx

from depth_perception.external_data import external_files
from depth_perception.folders import FolderError, data_folder, expanded
from depth_perception.model_contract import (
    OUTPUT_KINDS,
    ModelError,
    ModelSpec,
    parse_spec,
    to_json,
)

__all__ = ['DEFAULT_FOCUS_MODEL', 'DEFAULT_MODEL', 'ModelError', 'ModelSpec', 'OUTPUT_KINDS',
           'find_model', 'load_graph', 'read_spec', 'weights_sha256', 'write_spec']

DEFAULT_MODEL = 'realtime_unet_m'
DEFAULT_FOCUS_MODEL = 'dfdnet_small'
METADATA_KEY = 'depth_perception'
FOCUS_DISTANCES = 'focus_distances'


def read_spec(path: str | Path) -> ModelSpec:
    """Read the contract of the ONNX file `path` and check the file against it.

    Raises
    ------
    ModelError
        If the file is not there, not ONNX, damaged, without a contract, of an unknown contract
        version, or if its inputs, outputs or weights are not as the contract says.
    """
    path = Path(path)
    model = load_graph(path)
    try:
        spec = parse_spec(_contract_text(model, path))
    except ModelError as error:
        raise ModelError(f'{path}: {error}') from None
    _check_graph(model, spec, path)
    if spec.weights_sha256 and spec.weights_sha256 != _hash(model, path):
        raise ModelError(
            f'{path}: the weights are not the ones that the contract was written for (their '
            'SHA-256 differs); export the model again, or copy the file again')
    return spec


def write_spec(path: str | Path, spec: ModelSpec) -> None:
    """Write `spec` into the ONNX file `path`, with the hash of its weights filled in.

    Other metadata stay. The file is replaced in one step: a crash leaves the old one.

    Raises
    ------
    ModelError
        If the file is not there, not ONNX or damaged, or if its graph contradicts `spec`.
    """
    path = Path(path)
    model = load_graph(path)
    _check_graph(model, spec, path)
    spec = replace(spec, weights_sha256=_hash(model, path))
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    metadata[METADATA_KEY] = to_json(spec)
    onnx.helper.set_model_props(model, metadata)
    _replace_file(path, model.SerializeToString())


def find_model(name: str | Path) -> Path:
    """Find the ONNX file called `name`.

    A path is taken as it is; a plain name is looked up in the user's data folder
    (``$XDG_DATA_HOME/depth_perception/models``), then among the models of this package.

    Raises
    ------
    ModelError
        If there is none; the message lists the names that exist.
    """
    if not str(name):
        raise ModelError('model is empty; give a path to an ONNX file, or one of the installed '
                         f'models: {_installed_names()}')
    try:
        path = expanded(name)
        if path.is_file():
            return path
    except (FolderError, OSError) as error:     # no such home; too long; not ours to look at
        raise ModelError(f'model file {str(name)[:200]!r} cannot be looked for: {error}') from None
    if path.suffix == '.onnx' or len(path.parts) != 1:
        raise ModelError(f'model file {path} does not exist; give an existing ONNX file, or one '
                         f'of the installed models: {_installed_names()}')
    for folder in _searched():
        if (folder / f'{name}.onnx').is_file():
            return folder / f'{name}.onnx'
    raise ModelError(f'no model is called {str(name)!r}; installed are: {_installed_names()}. '
                     'A path to an ONNX file works as well')


def weights_sha256(model: onnx.ModelProto, folder: str | Path = '') -> str:
    """SHA-256 over name, type, shape and bytes of all initializers, sorted by name.

    Unlike a hash of the file it survives changes of the metadata. `folder` holds the files of
    weights that lie outside of the ONNX file.
    """
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda tensor: tensor.name):
        digest.update(f'{tensor.name} {tensor.data_type} {list(tensor.dims)}'.encode())
        digest.update(onnx.numpy_helper.to_array(tensor, base_dir=str(folder)).tobytes())
    return digest.hexdigest()


def _hash(model: onnx.ModelProto, path: Path) -> str:
    try:
        return weights_sha256(model, path.parent)
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelError(f'{path}: its weights cannot be read ({error}); copy or export it again, '
                         'with the files beside it') from None


def load_graph(path: Path) -> onnx.ModelProto:
    """Parse the ONNX file; weights in other files are left there.

    Raises
    ------
    ModelError
        If the file is not there, not ONNX or damaged, or if its weights lie outside of its
        folder.
    """
    try:
        if not path.is_file():
            raise ModelError(f'model file {path} does not exist; give an existing ONNX file')
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f'{path} cannot be read ({error.strerror or error}); give an ONNX file '
                         'that may be read') from None
    # Every exporter writes ir_version first: field 1 as a varint, the byte 0x08.
    if not data.startswith(b'\x08'):
        raise ModelError(f'{path} is not an ONNX file; export the model to ONNX first')
    try:
        model = onnx.load_model_from_string(data)
    except DecodeError:
        raise ModelError(f'{path} is damaged or cut off ({len(data)} bytes); copy or export it '
                         'again') from None
    if not model.graph.node or not model.graph.output:
        raise ModelError(f'{path} holds no network; copy or export it again')
    external_files(model, path)
    return model


def _contract_text(model: onnx.ModelProto, path: Path) -> str:
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            return entry.value
    sidecar = path.with_name(path.name + '.json')
    if not sidecar.is_file():
        raise ModelError(
            f'no model contract: neither the metadata {METADATA_KEY!r} nor {sidecar.name} beside '
            'the file says what its input and unit are; write it there, or export with '
            'training.export')
    return sidecar.read_text(encoding='utf-8')


def _check_graph(model: onnx.ModelProto, spec: ModelSpec, path: Path) -> None:
    """Compare names, types and shapes of the graph's inputs and outputs with the contract."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    sides = [spec.input_height, spec.input_width] if not spec.size_multiple else ['any', 'any']
    frames = ['any' if spec.frames_range else spec.frames]
    shapes = {'image': [1, *(frames if spec.frames > 1 else ()), 3, *sides]}
    # Of an input that this software does not know only the name is checked.
    shapes |= {name: [1, *frames] if name == FOCUS_DISTANCES else None
               for name in spec.extra_inputs}
    _check_values('input', inputs, shapes, path)
    names = ('depth', 'confidence') if spec.confidence else ('depth',)
    _check_values('output', model.graph.output, dict.fromkeys(names, [1, 1, *sides]), path)


def _check_values(role: str, values: Any, shapes: dict[str, list | None], path: Path) -> None:
    names = [value.name for value in values]
    if sorted(names) != sorted(shapes):
        raise ModelError(f'{path}: its {role}s are {", ".join(names) or "none"}; by its contract '
                         f'they must be {", ".join(shapes)}')
    for value in values:
        rule = shapes[value.name]
        if rule is not None:
            _check_tensor(role, value, rule, path)


def _check_tensor(role: str, value: onnx.ValueInfoProto, rule: list, path: Path) -> None:
    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
        raise ModelError(f'{path}: {role} {value.name!r} is of type {kind}; it must be float32')
    dims = [d.dim_value if d.HasField('dim_value') else d.dim_param or '?'
            for d in tensor.shape.dim]
    # A symbolic size takes any; a number never equals 'any'.
    fits = len(dims) == len(rule) and all(
        isinstance(d, str) or d == r for d, r in zip(dims, rule))
    if not fits:
        raise ModelError(f'{path}: {role} {value.name!r} has the shape {dims}; by its contract it '
                         f'must be {rule}')


def model_folders() -> tuple[Path, Path]:
    """Where installed models lie: the user's data folder, then this package's own.

    Raises
    ------
    FolderError
        There is no data folder.
    """
    return data_folder() / 'models', _shipped()


def _searched() -> Iterator[Path]:
    with contextlib.suppress(FolderError):      # a robot without a home has the shipped models
        yield model_folders()[0]
    yield _shipped()


def _shipped() -> Path:
    return Path(__file__).parent / 'models'


def _installed_names() -> str:
    names = {file.stem for folder in _searched() for file in folder.glob('*.onnx')}
    return ', '.join(sorted(names)) or 'none'


def _replace_file(path: Path, data: bytes) -> None:
    # In the same folder: os.replace is atomic only within one file system.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with os.fdopen(handle, 'wb') as file:
            file.write(data)
        os.chmod(temporary, path.stat().st_mode)
        os.replace(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise
