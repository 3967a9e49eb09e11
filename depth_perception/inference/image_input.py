"""A network that takes the camera's image as it is: uint8 NHWC; the GPU does the rest.

Resize, letterbox and normalisation become layers in front of the network, in float32, with the
steps of `depth_perception.preprocessing`; the host touches no pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from depth_perception.model_contract import CHANNEL_ORDERS, ModelError, ModelSpec
from depth_perception.preprocessing import place, resize_steps

INPUT = 'image'
#: Name of the folded input -> order of its channels: an engine file says itself what it takes.
FOLDED = {'image_rgb': 'rgb', 'image_bgr': 'bgr'}


@dataclass(frozen=True)
class ImageInput:
    """A camera's image: (`height`, `width`, 3) uint8 in `channel_order`."""

    height: int
    width: int
    channel_order: str = 'rgb'

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError('both sides must be at least 1')
        if self.channel_order not in CHANNEL_ORDERS:
            raise ValueError(f'channel order must be one of {", ".join(CHANNEL_ORDERS)}')


def fold_image_input(model: onnx.ModelProto, spec: ModelSpec,
                     image: ImageInput) -> onnx.ModelProto:
    """Return a network with the input uint8 (N, height, width, 3), named as in FOLDED.

    Raises
    ------
    ModelError
        If the network takes a stack of images.
    """
    if spec.frames != 1 or spec.extra_inputs:
        raise ModelError(f'model {spec.name} takes more than one image; a camera image cannot be '
                         'its only input')
    placement = place(image.height, image.width, spec)
    folded = onnx.ModelProto()
    folded.CopyFrom(model)
    graph = folded.graph
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_value or 1
    outer = f'image_{image.channel_order}'
    nodes, weights = _layers(spec, placement, outer, batch)
    network = list(graph.node)
    del graph.node[:]
    graph.node.extend([*nodes, *network])
    graph.initializer.extend(weights)
    graph.input[0].CopyFrom(helper.make_tensor_value_info(
        outer, TensorProto.UINT8, (batch, image.height, image.width, 3)))
    size = (placement.input_height, placement.input_width)
    for output in graph.output:
        _set_shape(output, (batch, 1, *size))
    del graph.value_info[:]
    onnx.checker.check_model(folded)
    return folded


def set_batch(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return a network that takes and gives `batch` images in one call.

    Raises
    ------
    ModelError
        If `batch` is below 1, or a layer has the single image built in.
    """
    if batch < 1:
        raise ModelError(f'batch is {batch}; it must be at least 1')
    many = onnx.ModelProto()
    many.CopyFrom(model)
    for value in (*many.graph.input, *many.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del many.graph.value_info[:]
    try:
        onnx.shape_inference.infer_shapes(many, check_type=True, strict_mode=True,
                                          data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        reason = ' '.join(str(error).split())
        raise ModelError(f'the network cannot take {batch} images at once, one is built into it '
                         f'({reason}); export it with a free batch dimension') from None
    return many


def _layers(spec, placement, outer, batch):
    """Nodes and weights: uint8 NHWC, called `outer` -> the network's own input."""
    weights, nodes = [], []

    def weight(name, values, kind):
        weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def layer(op, inputs, output, **attributes):
        nodes.append(helper.make_node(op, inputs, [output], f'input_{output}', **attributes))
        return output

    value = layer('Cast', [outer], 'image_float', to=TensorProto.FLOAT)
    value = layer('Transpose', [value], 'image_nchw', perm=[0, 3, 1, 2])
    if FOLDED[outer] != spec.channel_order:
        # a 1 x 1 convolution that swaps: TensorRT fuses it
        swap = np.eye(3, dtype=np.float32)[::-1].reshape(3, 3, 1, 1)
        value = layer('Conv', [value, weight('image_swap', swap, np.float32)], 'image_ordered')
    before = (placement.image_height, placement.image_width)
    for i, size in enumerate(resize_steps(placement)):
        if size != before:
            # by sizes: a scale in float32 may fall a pixel short
            sizes = weight(f'image_sizes_{i}', [batch, 3, *size], np.int64)
            value = layer('Resize', [value, '', '', sizes], f'image_resized_{i}', mode='linear',
                          coordinate_transformation_mode='half_pixel')
        before = size
    gains = 1 / (255 * np.asarray(spec.std))
    offsets = -np.asarray(spec.mean) / np.asarray(spec.std)
    for op, name, values in (('Mul', 'gain', gains), ('Add', 'offset', offsets)):
        channel = weight(f'image_{name}', values.reshape(1, 3, 1, 1), np.float32)
        value = layer(op, [value, channel], f'image_by_{name}')
    rows, columns = placement.region
    pads = [0, 0, rows.start, columns.start, 0, 0,
            placement.input_height - rows.stop, placement.input_width - columns.stop]
    layer('Pad', [value, weight('image_pads', pads, np.int64)], INPUT, mode='edge')
    return nodes, weights


def _set_shape(value, shape):
    dims = value.type.tensor_type.shape
    del dims.dim[:]
    for size in shape:
        dims.dim.add().dim_value = size
