"""Other precisions of a network: an ONNX file in FP16, whole or but for named layers.

Newer TensorRT knows no FP16 switch: a network runs in the types that its ONNX file has. So the
types are changed here. Inputs and outputs stay float32; so do weights beyond the range of FP16.
"""

from __future__ import annotations

from collections.abc import Iterable
import difflib
import fnmatch

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from depth_perception.model_contract import ModelError

#: Operators that lose most in FP16: sums over many values, powers, quotients of small numbers.
SENSITIVE = frozenset({
    'Softmax', 'LogSoftmax', 'LayerNormalization', 'InstanceNormalization',
    'GroupNormalization', 'ReduceMean', 'ReduceSum', 'ReduceSumSquare', 'ReduceL2', 'Pow',
    'Sqrt', 'Reciprocal', 'Exp', 'Log', 'Erf', 'Div', 'Sigmoid', 'Tanh'})
#: Operators that do the work.
HEAVY = frozenset({'Conv', 'ConvTranspose', 'MatMul', 'Gemm'})
# Inputs by position that these operators want in float32, whatever the others are.
_FLOAT_INPUTS = {'Resize': (1, 2), 'Upsample': (1,)}
_LARGEST = float(np.finfo(np.float16).max)
_FLOAT, _HALF = TensorProto.FLOAT, TensorProto.FLOAT16


def layers_named(model: onnx.ModelProto, patterns: Iterable[str]) -> set[str]:
    """Names of the nodes that fit one of `patterns` (``decoder.*``; also an operator's name).

    Raises
    ------
    ModelError
        If a pattern fits none; the message names the nearest.
    """
    found = set()
    for pattern in patterns:
        fits = {node.name for node in model.graph.node
                if fnmatch.fnmatchcase(node.name, pattern) or node.op_type == pattern}
        if not fits:
            near = difflib.get_close_matches(pattern, [n.name for n in model.graph.node], n=1)
            hint = f'did you mean {near[0]!r}?' if near else (
                f'the last one is {model.graph.node[-1].name!r}')
            raise ModelError(f'no layer is called {pattern!r}; {hint}')
        found |= fits
    return found


def mixed_layers(model: onnx.ModelProto) -> set[str]:
    """Layers that ``mixed`` keeps in FP32 unless told otherwise.

    The sensitive operators, and the network's heads (:func:`head_layers`), for there the outputs
    get their unit.
    """
    return head_layers(model) | {
        node.name for node in model.graph.node if node.op_type in SENSITIVE}


def head_layers(model: onnx.ModelProto) -> set[str]:
    """Layers between the last convolutions or products and the outputs, and those themselves."""
    makers = {output: node for node in model.graph.node for output in node.output}
    open_values = [output.name for output in model.graph.output]
    found: set[str] = set()  # values, which have names of their own where nodes need not
    while open_values:
        value = open_values.pop()
        if value in makers and value not in found:
            found.add(value)
            if makers[value].op_type not in HEAVY:
                open_values.extend(makers[value].input)
    return {makers[value].name for value in found}


def named(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which each node has a name of its own."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    taken = set()
    for i, node in enumerate(copy.graph.node):
        if not node.name or node.name in taken:
            node.name = f'{node.op_type}_{i}'
        taken.add(node.name)
    return copy


def to_fp16(model: onnx.ModelProto, keep: Iterable[str] = ()) -> onnx.ModelProto:
    """Return `model` with its arithmetic in FP16 but for the layers called `keep`.

    Inputs and outputs keep their types. A layer that holds a sub-graph, comes from another
    operator set, or has weights beyond 65504 stays as it is.

    Raises
    ------
    ModelError
        If the types of the graph cannot be inferred.
    """
    try:
        inferred = onnx.shape_inference.infer_shapes(named(model), data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f'the types of the network cannot be inferred ({error}); '
                         'export it again with a newer exporter') from None
    return _HalfGraph(inferred, set(keep)).convert()


class _HalfGraph:
    """One conversion: follows each tensor's type from the inputs on."""

    def __init__(self, model: onnx.ModelProto, keep: set[str]) -> None:
        self._model, self._keep = model, keep
        graph = model.graph
        values = [*graph.value_info, *graph.input, *graph.output]
        self._types = {value.name: value.type.tensor_type.elem_type for value in values}
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._types.update((name, tensor.data_type) for name, tensor in self._weights.items())
        self._outputs = {value.name for value in graph.output}
        self._now = dict(self._types)       # name -> type in the new graph
        self._casts: dict[tuple[str, int], str] = {}
        self._new: dict[str, TensorProto] = {}
        self._nodes: list[onnx.NodeProto] = []

    def convert(self) -> onnx.ModelProto:
        for node in self._model.graph.node:
            if self._stays(node):
                self._rewire(node, _FLOAT)
                self._nodes.append(node)
            else:
                self._halve(node)
        return self._rebuilt()

    def _stays(self, node: onnx.NodeProto) -> bool:
        kinds = [attribute.type for attribute in node.attribute]
        subgraph = any(k in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for k in kinds)
        unknown = any(not self._types.get(name) for name in node.output if name)
        tensors = [self._weights[name] for name in node.input if name in self._weights]
        tensors += [attribute.t for attribute in node.attribute if attribute.HasField('t')]
        foreign = node.domain not in ('', 'ai.onnx')
        return (node.name in self._keep or subgraph or unknown or foreign
                or node.op_type in ('QuantizeLinear', 'DequantizeLinear')
                or any(_too_large(tensor) for tensor in tensors))

    def _halve(self, node: onnx.NodeProto) -> None:
        self._rewire(node, _HALF, skip=_FLOAT_INPUTS.get(node.op_type, ()))
        for attribute in node.attribute:
            if attribute.HasField('t') and attribute.t.data_type == _FLOAT:
                attribute.t.CopyFrom(_half(attribute.t))
            if node.op_type == 'Cast' and attribute.name == 'to' and attribute.i == _FLOAT:
                attribute.i = _HALF
        self._nodes.append(node)
        for i, name in enumerate(node.output):
            if self._types.get(name) != _FLOAT:
                continue
            self._now[name] = _HALF
            if name in self._outputs:       # the border stays float32
                node.output[i] = name + '_fp16'
                self._now[node.output[i]] = _HALF
                self._nodes.append(_cast(node.output[i], name, _FLOAT))
                self._now[name] = _FLOAT
                self._casts[name, _HALF] = node.output[i]

    def _rewire(self, node: onnx.NodeProto, wanted: int, skip: tuple[int, ...] = ()) -> None:
        """Let the float inputs of `node` come in the type `wanted`, but those to `skip`."""
        for i, name in enumerate(node.input):
            target = _FLOAT if i in skip else wanted
            if name and self._types.get(name) == _FLOAT and self._now[name] != target:
                node.input[i] = self._as_type(name, target)
        for attribute in node.attribute:
            if attribute.HasField('g'):     # what a sub-graph takes from outside stays float32
                for inner in attribute.g.node:
                    self._rewire(inner, _FLOAT)

    def _as_type(self, name: str, wanted: int) -> str:
        if (name, wanted) in self._casts:
            return self._casts[name, wanted]
        new = f'{name}_fp{16 if wanted == _HALF else 32}'
        if name in self._weights:
            self._new[new] = _half(self._weights[name], new)
        else:
            self._nodes.append(_cast(name, new, wanted))
        self._casts[name, wanted] = new
        return new

    def _rebuilt(self) -> onnx.ModelProto:
        graph = self._model.graph
        used = {name for node in self._nodes for name in _names_used(node)} | self._outputs
        weights = [t for t in (*graph.initializer, *self._new.values()) if t.name in used]
        for field, values in ((graph.node, self._nodes), (graph.initializer, weights)):
            kept = list(values)
            del field[:]
            field.extend(kept)
        del graph.value_info[:]
        return self._model


def _names_used(node: onnx.NodeProto) -> Iterable[str]:
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            yield from (output.name for output in graph.output)
            for inner in graph.node:
                yield from _names_used(inner)


def _too_large(tensor: TensorProto) -> bool:
    if tensor.data_type != _FLOAT:
        return False
    values = numpy_helper.to_array(tensor)
    finite = values[np.isfinite(values)]
    return bool(finite.size) and float(np.abs(finite).max()) > _LARGEST


def _half(tensor: TensorProto, name: str | None = None) -> TensorProto:
    values = numpy_helper.to_array(tensor).astype(np.float16)
    return numpy_helper.from_array(values, tensor.name if name is None else name)


def _cast(name: str, new: str, wanted: int) -> onnx.NodeProto:
    return helper.make_node('Cast', [name], [new], name=f'cast_{new}', to=wanted)
