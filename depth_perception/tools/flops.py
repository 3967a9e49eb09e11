"""How many floating-point operations a frame costs: two for each multiply and add."""

from __future__ import annotations

import math

import onnx

from depth_perception.model_contract import ModelError, ModelSpec


def count_flops(model: onnx.ModelProto, spec: ModelSpec,
                size: tuple[int, int] | None = None) -> int:
    """FLOPs of convolutions and matrix products for one frame.

    Parameters
    ----------
    model : ModelProto
        With the input ``image``; its weights may be missing.
    spec : ModelSpec
    size : (height, width), optional
        Of the network input; by default the nominal one.

    Raises
    ------
    ModelError
        If the shapes of the network cannot be inferred.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    del fixed.graph.value_info[:]
    shape = (*spec.input_shape[:-2], *(size or spec.input_shape[-2:]))
    for value in fixed.graph.input:
        if value.name == 'image':
            for dim, side in zip(value.type.tensor_type.shape.dim, shape):
                dim.dim_value = side
    for value in fixed.graph.output:
        for dim in value.type.tensor_type.shape.dim:
            dim.Clear()
    try:
        inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f'the shapes of {spec.name} cannot be inferred ({error})') from None
    graph = inferred.graph
    shapes = {value.name: [d.dim_value for d in value.type.tensor_type.shape.dim]
              for value in (*graph.value_info, *graph.input, *graph.output)}
    shapes.update((tensor.name, list(tensor.dims)) for tensor in graph.initializer)
    return sum(_of_node(node, shapes) for node in graph.node)


def _of_node(node: onnx.NodeProto, shapes: dict[str, list[int]]) -> int:
    if node.op_type not in ('Conv', 'ConvTranspose', 'MatMul', 'Gemm'):
        return 0
    left, right = (shapes.get(name, []) for name in node.input[:2])
    output = shapes.get(node.output[0], [])
    if node.op_type == 'Conv':      # each output value: one product for each weight of a filter
        return 2 * math.prod(output) * math.prod(right[1:])
    if node.op_type == 'ConvTranspose':
        return 2 * math.prod(left) * math.prod(right[1:])
    if node.op_type == 'Gemm':
        transposed = any(a.name == 'transA' and a.i for a in node.attribute)
        return 2 * math.prod(output) * left[0 if transposed else 1]
    return 2 * math.prod(output) * left[-1] if left else 0
