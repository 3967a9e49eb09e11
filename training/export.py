"""Export a trained network: ``python -m training.export CONFIG [checkpoint=FILE] [folder=DIR]``.

``size=384x512`` (height x width) makes a file for this one size, in which what depends on the size
alone is a constant: fewer operators, and none that asks for a shape.

CONFIG may be the checkpoint itself, which holds its config. Writes NAME.onnx with its contract
inside, NAME.safetensors (weights as trained, for fine-tuning) and NAME.yaml (the training config).
The ONNX file is compared with torch on real frames before it is kept.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import islice
import logging
import os
from pathlib import Path
import tempfile
import warnings

import numpy as np
import onnx
from onnx import version_converter
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.export import Dim
import yaml

from depth_perception.estimator import DepthEstimator
from depth_perception.focus_estimator import FocusStackEstimator
from depth_perception.inference import load
from depth_perception.model_spec import write_spec
from depth_perception.sources import Frame, open_source
from training.arguments import parse
from training.checkpoint import CheckpointError, load_model
from training.config import Config
from training.contract import at_size, model_spec
from training.data import DataError, evaluation
from training.data.splits import load_splits
from training.export_inputs import network_inputs, stack_of
from training.models.low_rank import merge_low_rank
from training.stacks import random_inputs, takes_stack

log = logging.getLogger(__name__)

OPSET = 17  # the newest that TensorRT 8.5, JetPack 5's, reads
TOLERANCE = 1e-4
FRAMES_COMPARED = 4


class ExportError(ValueError):
    """An exported file that does not compute what the network computes."""


class _FullSize(nn.Module):
    # The contract promises a map of the size of the input.
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, focus_distances: Tensor | None = None) -> Tensor:
        # No *inputs: torch.export would want the free sizes nested alike.
        inputs = (image,) if focus_distances is None else (image, focus_distances)
        return at_size(self.network(*inputs), image.shape[-2:])


def exportable(network: nn.Module) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a network with maps of the input's size, and an example of its inputs."""
    fixed = getattr(network, 'input_size', None)
    multiple = 0 if fixed else network.size_multiple
    example = random_inputs(network, fixed or (8 * multiple, 10 * multiple))
    with torch.inference_mode():
        full = network(*example).shape[-2:] == example[0].shape[-2:]
    return network if full else _FullSize(network).eval(), example


def fix_size(network: nn.Module, size: tuple[int, int]) -> None:
    """Let `network` be exported for images of `size` (height, width) alone.

    Raises
    ------
    ExportError
        It does not take this size.
    """
    fixed = getattr(network, 'input_size', None)
    if fixed and size != tuple(fixed):
        raise ExportError(f'size is {size[0]}x{size[1]}; {type(network).__name__} takes '
                          f'{fixed[0]}x{fixed[1]} only')
    multiple = 1 if fixed else network.size_multiple
    if any(side < multiple or side % multiple for side in size):
        raise ExportError(f'size is {size[0]}x{size[1]}; height and width must be multiples of '
                          f'{multiple} for {type(network).__name__}')
    network.input_size = size


def _free_sizes(network: nn.Module) -> tuple[dict, ...] | None:
    # Of each input which dimensions the exported file leaves open; None: none.
    if hasattr(network, 'input_size'):
        return None
    multiple = network.size_multiple
    sides = [multiple * Dim('h', min=2), multiple * Dim('w', min=2)]
    if not takes_stack(network):
        return (dict(zip((2, 3), sides)),)
    fewest, most = network.frames_range
    frames = Dim('frames', min=fewest, max=most)
    return dict(zip((1, 3, 4), (frames, *sides))), {1: frames}


def export_onnx(network: nn.Module, path: Path) -> None:
    """Write `network` as ONNX: 'image' (1, 3, h, w) to 'depth' (1, 1, h, w).

    Height and width are free multiples of the network's `size_multiple`, or fixed where it has
    an `input_size`; batch norm is folded into the convolutions. Of a network for focus stacks
    'image' is (1, N, 3, h, w) and 'focus_distances' (1, N) with N free.

    Raises
    ------
    ExportError
        `network` is in training mode.
    """
    if network.training:
        raise ExportError('the network is in training mode; call its eval() before the export')
    whole, example = exportable(network)
    # They report each pass, and torchvision missing, which no network here uses.
    for name in ('torch.onnx', 'onnx_ir', 'onnxscript'):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # about torch's own use of its tree library
        warnings.filterwarnings('ignore', '# The axis name: frames')  # two inputs share it
        program = torch.onnx.export(
            whole, example, input_names=['image', *getattr(network, 'extra_inputs', ())],
            output_names=['depth'], opset_version=18, dynamo=True,
            dynamic_shapes=_free_sizes(network), verbose=False,
        )
    model = version_converter.convert_version(program.model_proto, OPSET)
    for node in model.graph.node:
        # The converter makes axes an attribute of means and maxima, and forgets this one of opset
        # 18, which is 0: without axes over all of them, as opset 17 always does.
        kept = [x for x in node.attribute if x.name != 'noop_with_empty_axes']
        if node.op_type in ('ReduceMean', 'ReduceMax') and len(kept) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(kept)
    for value, channels in ((model.graph.input[0], 3), (model.graph.output[0], 1)):
        dims = value.type.tensor_type.shape.dim
        dims[len(dims) - 3].dim_value = channels
        if not hasattr(network, 'input_size'):
            dims[len(dims) - 2].dim_param, dims[len(dims) - 1].dim_param = 'height', 'width'
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def frames(count: int = FRAMES_COMPARED) -> list[Frame]:
    """Pictures to try a model on: stored real ones, one of each test set under DATA_ROOT.

    Where there is none, views of a rendered room.
    """
    found = [Frame(s['image'], s['intrinsics'], None) for s in islice(_stored(), count)]
    if found:
        return found
    log.warning('no real frame is at hand (DATA_ROOT is not set, or holds no test set): '
                'comparing on rendered ones')
    with_depth = open_source('scene', width=320, height=240)
    try:
        return list(islice(iter(with_depth), count))
    finally:
        with_depth.close()


def _stored() -> Iterator[dict]:
    for entry in load_splits().select('test'):
        if entry.kind == 'real' and evaluation.available(entry):
            yield from islice(evaluation.samples(entry), 1)


def compare(network: nn.Module, path: Path, pictures: list[Frame]) -> float:
    """Largest difference of the ONNX file from `network` over `pictures`.

    Relative where the network gives more than 1. The file and torch both run on the CPU, in
    full float32: no TF32.

    Raises
    ------
    ExportError
        The difference is not below 1e-4.
    """
    whole, _ = exportable(network)
    engine = load(str(path), backend='cpu')
    worst = 0.0
    for picture in pictures:
        inputs = network_inputs(picture, engine.spec)
        with torch.inference_mode():
            expected = whole(*map(torch.from_numpy, inputs.values()))[0, 0].numpy()
        found, _ = engine.infer(**inputs)
        difference = np.abs(found - expected) / np.maximum(1, np.abs(expected))
        worst = max(worst, float(difference.max()))
    engine.close()
    if not worst < TOLERANCE:
        raise ExportError(f'{path} differs from torch by {worst:.2g}; the limit is {TOLERANCE}')
    return worst


def run_once(path: Path, picture: Frame) -> None:
    """Run the exported file as a node would.

    Raises
    ------
    ExportError
        Some pixel got no depth.
    """
    engine = load(str(path), backend='cpu')
    if engine.spec.frames == 1:
        depth = DepthEstimator(engine)(picture.image, picture.intrinsics).depth
    else:
        stack = stack_of(picture, engine.spec)
        depth = FocusStackEstimator(engine)(*stack, picture.intrinsics).depth
    undefined = int(np.isnan(depth).sum())
    engine.close()
    if undefined:
        raise ExportError(f'{path} gives {undefined} of {depth.size} pixels no depth')


def export(
    config: Config, checkpoint: Path, folder: Path, size: tuple[int, int] | None = None
) -> Path:
    """Export `checkpoint` into `folder`, for one `size` if given, and return the ONNX file.

    Raises
    ------
    ExportError, CheckpointError
    """
    network, trained = load_model(checkpoint)
    weights = network.state_dict()  # as trained: low-rank matrices are of their own
    merge_low_rank(network)
    if trained.config['model'] != config.model:
        raise ExportError(f"{checkpoint} holds a {trained.config['model']}, the config is for "
                          f'{config.model}; give the config that it was trained with')
    if size:
        fix_size(network, size)
    pictures = frames()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{config.name}.onnx'
    # Checked beside the target and then renamed: a failed export leaves the old model in place.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        draft = Path(scratch) / path.name
        export_onnx(network, draft)
        write_spec(draft, model_spec(config, network, ', '.join(trained.sources),
                                     trained.blur_scale_range))
        worst = compare(network, draft, pictures)
        run_once(draft, pictures[0])
        os.replace(draft, path)
    safetensors.torch.save_file(weights, path.with_suffix('.safetensors'))
    path.with_suffix('.yaml').write_text(yaml.safe_dump(trained.config, sort_keys=False))
    log.info('%s: differs from torch by at most %.1e over %d pictures', path, worst,
             len(pictures))
    return path


def _size(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    height, _, width = text.partition('x')
    if not (height.isdigit() and width.isdigit()):
        raise ExportError(f'size is {text!r}; give height x width, such as size=384x512')
    return int(height), int(width)


def main(argv: list[str] | None = None) -> None:
    """Export as the command line says."""
    parser = argparse.ArgumentParser(prog='python -m training.export', description=__doc__)
    config, own = parse(parser, argv, ('checkpoint', 'folder', 'size'))
    last = Path(config.output) / f'phase{len(config.phases) - 1}.ckpt'
    try:
        export(config, Path(own.get('checkpoint', last)),
               Path(own.get('folder', 'depth_perception/models')), _size(own.get('size', '')))
    except (ExportError, CheckpointError, DataError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
