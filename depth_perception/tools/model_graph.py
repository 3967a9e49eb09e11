"""Adapt a foreign network to our contract: 'image' (1, 3, h, w) to 'depth' (1, 1, h, w).

Nothing of the network itself changes: layers are put before and behind it, outputs nobody asked
for are cut off.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from depth_perception.model_contract import ModelError

_OURS = ('image', 'depth', 'confidence')
_FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8)
OLDEST_OPSET = 11       # from here on Resize takes sizes


@dataclass(frozen=True)
class Port:
    """The image input of a foreign network.

    `height` and `width` are None where they are free; `rank` is 4, or 5 with an axis of views;
    `channels_last` says NHWC.
    """

    name: str
    kind: int
    rank: int
    channels_last: bool
    height: int | None
    width: int | None


def image_port(model: onnx.ModelProto, constants: tuple[str, ...] = ()) -> Port:
    """Find the image among the inputs; those called `constants` are not looked at.

    Raises
    ------
    ModelError
        If there is no image, or an input beside it that nobody will fill.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [v for v in model.graph.input if v.name not in weights and v.name not in constants]
    ports = [port for port in map(_port, inputs) if port is not None]
    if len(ports) != 1:
        listed = ', '.join(f'{v.name} {_dims(v)}' for v in inputs) or 'none'
        raise ModelError(f'the inputs are {listed}; exactly one has to be an image of 3 channels, '
                         '(1, 3, h, w) or (1, h, w, 3)')
    others = [v.name for v in inputs if v.name != ports[0].name]
    if others:
        raise ModelError(f'beside the image the network takes {", ".join(others)}, which nobody '
                         'fills here; export it without them (UniDepth: without camera)')
    return ports[0]


def _dims(value: onnx.ValueInfoProto) -> list[int | str]:
    return [d.dim_value if d.HasField('dim_value') and d.dim_value > 0 else d.dim_param or '?'
            for d in value.type.tensor_type.shape.dim]


def _port(value: onnx.ValueInfoProto) -> Port | None:
    dims, kind = _dims(value), value.type.tensor_type.elem_type
    if kind not in _FLOATS or len(dims) not in (4, 5):
        return None
    last = dims[-1] == 3 and dims[-3] != 3
    if not last and dims[-3] not in (3,) and not isinstance(dims[-3], str):
        return None
    sides = dims[-3:-1] if last else dims[-2:]
    height, width = (side if isinstance(side, int) else None for side in sides)
    return Port(value.name, kind, len(dims), last, height, width)


def depth_output(model: onnx.ModelProto, names: tuple[str, ...]) -> str:
    """Name of the depth output: the first of `names` that exists, or the only output.

    Raises
    ------
    ModelError
        If it is not clear which one it is.
    """
    there = [value.name for value in model.graph.output]
    for name in names:
        if name in there:
            return name
    if len(there) == 1:
        return there[0]
    raise ModelError(f'the outputs are {", ".join(there)}; name the one with the depth '
                     '(--output-name)')


class Adapter:
    """Puts layers around one network.

    Parameters
    ----------
    model : ModelProto
        Is changed.
    port : Port
    size : (height, width) or None
        Of the input; None: free.
    """

    def __init__(self, model: onnx.ModelProto, port: Port, size: tuple[int, int] | None) -> None:
        self.model, self.port, self.size = model, port, size
        self.opset = max((o.version for o in model.opset_import if o.domain in ('', 'ai.onnx')),
                         default=0)
        if self.opset < OLDEST_OPSET:
            raise ModelError(f'the network has opset {self.opset}; export it with opset '
                             f'{OLDEST_OPSET} or newer')
        self._before: list[onnx.NodeProto] = []
        self._after: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []
        _rename(model.graph, {name: f'inner_{name}' for name in _OURS})
        self._inner = _renamed(port.name)
        self._count = 0

    def add(self, op: str, inputs: list[str], *, before: bool = False, output: str = '',
            **attributes) -> str:
        """Add a layer and return the name of its output."""
        self._count += 1
        output = output or f'adapt_{self._count}'
        nodes = self._before if before else self._after
        nodes.append(helper.make_node(op, inputs, [output], f'adapt_{op}_{self._count}',
                                      **attributes))
        return output

    def weight(self, values, kind=np.float32) -> str:
        """Add a constant and return its name."""
        name = f'adapt_weight_{len(self._weights)}'
        self._weights.append(numpy_helper.from_array(np.asarray(values, kind), name))
        return name

    def reshape(self, op: str, value: str, axes: list[int], before: bool = False) -> str:
        """Squeeze or unsqueeze; the axes were an attribute before opset 13."""
        if self.opset < 13:
            return self.add(op, [value], before=before, axes=axes)
        return self.add(op, [value, self.weight(axes, np.int64)], before=before)

    def set_constants(self, constants: dict[str, int]) -> None:
        """Give further inputs a value for good."""
        kinds = {v.name: v.type.tensor_type for v in self.model.graph.input}
        for name, number in constants.items():
            if name in kinds:
                shape = [1] * len(kinds[name].shape.dim)
                kind = helper.tensor_dtype_to_np_dtype(kinds[name].elem_type)
                self._weights.append(
                    numpy_helper.from_array(np.full(shape, number, kind), name))

    def prepare_input(self) -> None:
        """Turn 'image' into what the network takes."""
        port, value = self.port, 'image'
        if port.kind != TensorProto.FLOAT:
            if port.kind == TensorProto.UINT8:
                value = self.add('Round', [value], before=True)
            value = self.add('Cast', [value], before=True, to=port.kind)
        if port.channels_last:
            value = self.add('Transpose', [value], before=True, perm=[0, 2, 3, 1])
        if port.rank == 5:
            value = self.reshape('Unsqueeze', value, [1], before=True)
        self.add('Identity', [value], before=True, output=self._inner)

    def as_map(self, value: str, shape: tuple[int, ...]) -> str:
        """Turn an output, of this shape in the trial, into (1, 1, h, w) float32."""
        value = self.add('Cast', [value], to=TensorProto.FLOAT)
        if len(shape) >= 4 and shape[-1] == 1 and shape[-2] > 1:
            value, shape = self.reshape('Squeeze', value, [len(shape) - 1]), shape[:-1]
        if len(shape) < 2 or any(side != 1 for side in shape[:-2]) or len(shape) > 5:
            raise ModelError(f'the depth output has the shape {list(shape)}; it must be one map: '
                             '(1, 1, h, w), (1, h, w) or (h, w)')
        if len(shape) < 4:
            return self.reshape('Unsqueeze', value, list(range(4 - len(shape))))
        return self.reshape('Squeeze', value, [0]) if len(shape) == 5 else value

    def to_input_size(self, value: str, shape: tuple[int, ...],
                      size: tuple[int, int]) -> str:
        """Enlarge a map to the size of the input, where the trial gave another one."""
        if shape[-2:] == size or (shape[-1] == 1 and shape[-3:-1] == size):
            return value
        if self.size is not None:
            sizes = self.weight([1, 1, *self.size], np.int64)
        else:
            whole = self.add('Shape', ['image'])
            sides = self.add('Slice', [whole, self.weight([2], np.int64),
                                       self.weight([4], np.int64)])
            sizes = self.add('Concat', [self.weight([1, 1], np.int64), sides], axis=0)
        # roi and scales are empty tensors: opset 11 does not let them be left out
        empty = self.weight([])
        return self.add('Resize', [value, empty, empty, sizes], mode='linear',
                        coordinate_transformation_mode='half_pixel')

    def finish(self, depth: str) -> onnx.ModelProto:
        """Name the output 'depth', put all together and cut off what it does not need."""
        self.add('Identity', [depth], output='depth')
        graph = self.model.graph
        nodes = [*self._before, *graph.node, *self._after]
        kept = _needed(nodes, 'depth')
        used = {name for node in kept for name in _used(node)}
        weights = [t for t in (*graph.initializer, *self._weights) if t.name in used]
        for field, values in ((graph.node, kept), (graph.initializer, weights)):
            del field[:]
            field.extend(values)
        sides = self.size or ('height', 'width')
        for field, name, channels in ((graph.input, 'image', 3), (graph.output, 'depth', 1)):
            del field[:]
            field.append(helper.make_tensor_value_info(
                name, TensorProto.FLOAT, (1, channels, *sides)))
        del graph.value_info[:]
        return self.model


def depth_from_points(adapter: Adapter, points: str, mask: str, scale: str,
                      size: tuple[int, int]) -> str:
    """Depth (1, 1, h, w) of points (1, h, w, 3) that are right up to a shift along z.

    MoGe finds the shift t and the focal length f by which the points project to their pixels:
    f x / (z + t) = u. Here that is the linear least squares problem f x - u t = u z (and the same
    for y, v), solved in closed form by layers, twice: the second time each equation is divided by
    the z + t found first, which makes it the reprojection error.
    """
    height, width = size
    diagonal = math.hypot(height, width)
    span_x, span_y = width / diagonal, height / diagonal
    u = np.linspace(-span_x * (width - 1) / width, span_x * (width - 1) / width, width)
    v = np.linspace(-span_y * (height - 1) / height, span_y * (height - 1) / height, height)
    add, weight = adapter.add, adapter.weight
    uv = weight(np.stack(np.broadcast_arrays(u[None], v[:, None]), -1)[None])   # (1, h, w, 2)

    def cut(first, last):
        return add('Slice', [points, *(weight([i], np.int64) for i in (first, last, 3))])

    xy, z = cut(0, 2), cut(2, 3)
    certain = adapter.reshape('Unsqueeze', mask, [3]) if mask else weight(np.ones((1, 1, 1, 1)))
    if mask:
        certain = add('Cast', [add('Greater', [certain, weight(0.5)])], to=TensorProto.FLOAT)
    uz = add('Mul', [uv, z])
    weights, shift = certain, ''
    for _ in range(2):
        def total(a, b, weights=weights):
            product = add('Mul', [add('Mul', [a, b]), weights])
            return add('ReduceSum', [product], keepdims=0)
        # [xx -xu; -xu uu] [f t] = [x uz; -u uz]
        xx, xu, uu = total(xy, xy), total(xy, uv), total(uv, uv)
        right_x, right_u = total(xy, uz), total(uv, uz)
        determinant = add('Sub', [add('Mul', [xx, uu]), add('Mul', [xu, xu])])
        numerator = add('Sub', [add('Mul', [xu, right_x]), add('Mul', [xx, right_u])])
        shift = add('Div', [numerator, determinant])
        far = add('Max', [add('Add', [z, shift]), weight(1e-3)])
        weights = add('Div', [certain, add('Mul', [far, far])])
    depth = add('Add', [z, shift])
    if scale:
        depth = add('Mul', [depth, scale])
    if mask:    # where there is nothing, there is no depth
        depth = add('Where', [add('Greater', [certain, weight(0.5)]), depth, weight(np.nan)])
    return add('Transpose', [depth], perm=[0, 3, 1, 2])


def _renamed(name: str) -> str:
    return f'inner_{name}' if name in _OURS else name


def _rename(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    for value in (*graph.input, *graph.output, *graph.initializer, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _rename(inner, names)


def _used(node: onnx.NodeProto) -> list[str]:
    names = list(node.input)
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names += [output.name for output in graph.output]
            for inner in graph.node:
                names += _used(inner)
    return names


def _needed(nodes: list[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """The nodes on which `output` depends, in their order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.output):
            kept.append(node)
            wanted.update(_used(node))
    return kept[::-1]
