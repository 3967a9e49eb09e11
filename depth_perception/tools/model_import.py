"""``depth-perception models import``: a foreign ONNX file becomes a model with a contract."""

from __future__ import annotations

from dataclasses import dataclass, replace
import os
from pathlib import Path
import tempfile

import cv2
import numpy as np
import onnx
import onnxruntime as ort

from depth_perception.external_data import external_files
from depth_perception.inference.onnx_engine import OnnxEngine
from depth_perception.model_contract import ModelError, ModelSpec
from depth_perception.model_spec import write_spec
from depth_perception.preprocessing import Preprocessor, place
from depth_perception.tools.model_graph import (
    Adapter,
    Port,
    depth_from_points,
    depth_output,
    image_port,
)
from depth_perception.tools.model_presets import Preset

_PICTURE = Path(__file__).parents[1] / 'models' / 'verify' / 'photo_cat.jpg'
_LARGEST_FILE = (1 << 31) - (1 << 20)   # of protobuf; larger models keep their weights beside
_PLAUSIBLE_M = (0.05, 1000.0)


@dataclass(frozen=True)
class Trial:
    """What the network said about a photograph.

    `low`, `median` and `high` are the 5th, 50th and 95th percentile of its output; `finite` is
    the share of pixels that are numbers.
    """

    size: tuple[int, int]
    low: float
    median: float
    high: float
    finite: float
    doubts: tuple[str, ...]


def import_model(source: Path, target: Path, preset: Preset, *, output_name: str = '',
                 licence: str = '', training_data: str = '') -> tuple[ModelSpec, Trial]:
    """Adapt `source`, write it to `target` with its contract, and try it.

    Parameters
    ----------
    source, target : Path
    preset : Preset
        What the file does not say itself.
    output_name : str
        The depth output, where the preset's names do not fit.
    licence, training_data : str
        For the contract.

    Raises
    ------
    ModelError
        If the network has no image input or depth output, does not run, or gives nothing.
    """
    model = _read(source)
    constants = dict(preset.constants)
    port = image_port(model, tuple(constants))
    names = (output_name,) if output_name else preset.outputs
    output = depth_output(model, names)
    if output_name and output != output_name:
        raise ModelError(f'{source} has no output {output_name!r}; its only one is {output!r}')
    size, free = _size(port, preset)
    shapes = _shapes(source, model, port, size, constants)
    if free and not _takes(source, model, port, constants, preset):
        free = False
    adapter = Adapter(model, port, None if free else size)
    adapter.set_constants(constants)
    adapter.prepare_input()
    adapted = adapter.finish(_depth(adapter, output, shapes, preset, size))
    spec = ModelSpec(
        name=target.stem, architecture=preset.architecture, input_height=size[0],
        input_width=size[1], size_multiple=preset.multiple if free else 0, mean=preset.mean,
        std=preset.std, output_kind=preset.kind, canonical_focal_px=preset.canonical_focal_px,
        depth_range=preset.depth_range, licence=licence or preset.licence,
        training_data=training_data or 'see the publisher')
    return spec, _install(adapted, spec, target)


def _read(path: Path) -> onnx.ModelProto:
    if not path.is_file():
        raise ModelError(f'{path} is no file; give an ONNX file')
    try:
        model = onnx.load(str(path), load_external_data=False)
        external_files(model, path)
        onnx.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, OSError) as error:
        raise ModelError(f'{path}: its weights cannot be read ({error})') from None
    except ModelError:
        raise
    except Exception as error:  # noqa: BLE001 protobuf's own errors have no public base class
        raise ModelError(f'{path} is no ONNX file, or damaged ({error})') from None
    if not model.graph.node:
        raise ModelError(f'{path} is no ONNX file, or holds no network')
    return model


def _size(port: Port, preset: Preset) -> tuple[tuple[int, int], bool]:
    """Nominal (height, width), and whether other sizes may do as well."""
    if port.height and port.width:
        return (port.height, port.width), False
    height, width = port.height or preset.size[0], port.width or preset.size[1]
    return (height, width), bool(preset.multiple) and not port.height and not port.width


def _shapes(source: Path, model: onnx.ModelProto, port: Port, size: tuple[int, int],
            constants: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Run the network as it is and return the shapes of its outputs.

    Raises
    ------
    ModelError
        If it does not run.
    """
    options = ort.SessionOptions()
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(str(source), options, providers=['CPUExecutionProvider'])
        shape = (*size, 3) if port.channels_last else (3, *size)
        image = np.full((1, *((1,) if port.rank == 5 else ()), *shape), 0.5)
        feeds = {port.name: image.astype(onnx.helper.tensor_dtype_to_np_dtype(port.kind))}
        for value in session.get_inputs():
            if value.name in constants:
                kind = np.int64 if 'int64' in value.type else np.float32
                feeds[value.name] = np.full([1] * len(value.shape), constants[value.name], kind)
        results = session.run(None, feeds)
    except Exception as error:  # noqa: BLE001 ONNX Runtime's errors share no base class
        raise ModelError(f'{source} does not run at {size[1]}x{size[0]} '
                         f'({" ".join(str(error).split())[:300]}); give the size that it was '
                         'exported for (--size), or export it again') from None
    return {value.name: result.shape for value, result in zip(session.get_outputs(), results)}


def _takes(source: Path, model: onnx.ModelProto, port: Port, constants: dict[str, int],
           preset: Preset) -> bool:
    """Whether a network of free size really takes another size."""
    height, width = (max(4, round(0.4 * side / preset.multiple)) for side in preset.size)
    other = (height * preset.multiple, (width + 2) * preset.multiple)
    try:
        _shapes(source, model, port, other, constants)
    except ModelError:
        return False
    return True


def _depth(adapter: Adapter, output: str, shapes: dict[str, tuple[int, ...]], preset: Preset,
           size: tuple[int, int]) -> str:
    """Add the layers from the network's own output to our depth."""
    inner = {name: name if name not in ('image', 'depth', 'confidence') else f'inner_{name}'
             for name in shapes}
    if preset.points:
        mask, scale = (inner.get(name, '') for name in ('mask', 'metric_scale'))
        return depth_from_points(adapter, inner[output], mask, scale, size)
    value = adapter.as_map(inner[output], shapes[output])
    value = adapter.to_input_size(value, shapes[output], size)
    if preset.reciprocal:
        value = adapter.add('Reciprocal', [adapter.add('Max', [value, adapter.weight(1e-6)])])
    if preset.focal_output:
        if preset.focal_output not in inner:
            raise ModelError(f'the network has no output {preset.focal_output!r}; choose another '
                             'preset')
        focal = adapter.add('ReduceMean', [inner[preset.focal_output]], keepdims=0)
        value = adapter.add('Div', [value, focal])
    return value


def _install(model: onnx.ModelProto, spec: ModelSpec, target: Path) -> Trial:
    """Write model and contract, try both, and only then put them in place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix='.import_') as scratch:
        draft = Path(scratch) / target.name
        weights = target.name + '.data'
        large = model.ByteSize() > _LARGEST_FILE
        if large:
            onnx.save_model(model, str(draft), save_as_external_data=True,
                            all_tensors_to_one_file=True, location=weights)
        else:
            onnx.save_model(model, str(draft))
        write_spec(draft, spec)
        trial = _try(draft, spec)
        if large:
            os.replace(draft.with_name(weights), target.with_name(weights))
        os.replace(draft, target)
    return trial


def _try(path: Path, spec: ModelSpec) -> Trial:
    """Run the adapted model on a photograph, as a node would."""
    picture = cv2.cvtColor(cv2.imread(str(_PICTURE)), cv2.COLOR_BGR2RGB)
    nominal = replace(spec, size_multiple=0)
    placement = place(*picture.shape[:2], nominal)
    engine = OnnxEngine(path, spec, backend='cpu', threads=0)
    try:
        depth, _ = engine.infer(Preprocessor(nominal, placement)(picture))
        values = depth[np.isfinite(depth)].astype(np.float64)
        finite = values.size / depth.size
        if not values.size:
            raise ModelError(f'{spec.name} gives no depth for a photograph: all of it is NaN or '
                             'infinite. Normalisation or precision is wrong; try another preset')
        low, median, high = np.percentile(values, (5, 50, 95)).tolist()
        size = depth.shape
    finally:
        engine.close()
    return Trial(size, low, median, high, finite, tuple(_doubts(spec, low, median, high, finite)))


def _doubts(spec: ModelSpec, low: float, median: float, high: float, finite: float) -> list[str]:
    """What looks wrong about a trial; a person has to judge it."""
    doubts = []
    if finite < 0.99:
        doubts.append(f'{100 * (1 - finite):.0f} % of the pixels have no depth')
    if high - low <= 1e-3 * max(abs(median), 1e-9):
        doubts.append('the map is flat: is the normalisation right?')
    metres = {'metric': median, 'log': np.exp(median), 'inverse': 1 / median if median else np.inf}
    value = metres.get(spec.output_kind)
    if value is not None and not _PLAUSIBLE_M[0] <= value <= _PLAUSIBLE_M[1]:
        doubts.append(f'a median of {value:.3g} m is no distance in a photograph: is the kind '
                      f'{spec.output_kind!r} right?')
    if spec.output_kind in ('relative', 'inverse') and high < 0:
        doubts.append('inverse depth is negative: does the network give depth instead?')
    return doubts
