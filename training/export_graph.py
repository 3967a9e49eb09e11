"""A trained network as an ONNX graph, with the inputs and outputs that the contract promises."""

from __future__ import annotations

import logging
from pathlib import Path
import warnings

import onnx
from onnx import version_converter
import torch
from torch import Tensor, nn
from torch.export import Dim

from training.contract import at_size, confidence_of, split_confidence
from training.stacks import random_inputs, takes_stack

OPSET = 17  # the newest that TensorRT 8.5, JetPack 5's, reads


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


class _Confident(nn.Module):
    # The contract promises 0..1, not the logarithm of a scale.
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        depth, log_scale = split_confidence(at_size(self.network(image), image.shape[-2:]))
        return depth, confidence_of(log_scale)


def output_names(network: nn.Module) -> list[str]:
    """Names of what the exported file gives."""
    return ['depth', 'confidence'] if getattr(network, 'confidence', False) else ['depth']


def exportable(network: nn.Module) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a network with maps of the input's size, and an example of its inputs.

    It gives depth, or depth and confidence.
    """
    fixed = getattr(network, 'input_size', None)
    multiple = 0 if fixed else network.size_multiple
    example = random_inputs(network, fixed or (8 * multiple, 10 * multiple))
    if getattr(network, 'confidence', False):
        return _Confident(network).eval(), example
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
    """Write `network` as ONNX: 'image' (1, 3, h, w) to 'depth' (1, 1, h, w) and 'confidence'.

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
            output_names=output_names(network), opset_version=18, dynamo=True,
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
    for value, channels in ((model.graph.input[0], 3), *((x, 1) for x in model.graph.output)):
        dims = value.type.tensor_type.shape.dim
        dims[len(dims) - 3].dim_value = channels
        if not hasattr(network, 'input_size'):
            dims[len(dims) - 2].dim_param, dims[len(dims) - 1].dim_param = 'height', 'width'
    onnx.checker.check_model(model)
    onnx.save_model(model, path)
