"""Runs a TensorRT engine: buffers made once a size, one stream, one CUDA graph, no torch.

A frame is: copy into pinned memory, launch the graph (upload, network, download), wait. On a
Jetson, where CPU and GPU share their memory, nothing is copied at all.
"""

from __future__ import annotations

from collections.abc import Sequence
import logging
from typing import Any

import numpy as np

from depth_perception.inference import BackendError
from depth_perception.inference.cuda_device import Buffer, CudaDevice, GpuLostError
from depth_perception.inference.image_input import FOLDED, INPUT
from depth_perception.inference.tensorrt_api import TensorRt
from depth_perception.model_spec import ModelSpec
from depth_perception.preprocessing import ImageError

_LOG = logging.getLogger(__name__)

Answer = tuple[np.ndarray, 'np.ndarray | None']    # depth, confidence


class TensorRtEngine:
    """An engine on one GPU; see `depth_perception.estimator.Engine`.

    Parameters
    ----------
    blob : bytes
        What `TensorRtBuilder.build` gave.
    spec : ModelSpec
        Contract of the model that it was built from.
    api : TensorRt
    cuda : CudaDevice

    Attributes
    ----------
    image_size : (height, width) or None
        Where not None, the engine takes camera images of this size, uint8 (H, W, 3), and does
        resizing and normalisation itself.
    image_order : str
        ``rgb`` or ``bgr``, of those images.
    batch : int
        Most images in one call.

    Raises
    ------
    BackendError
        If the engine is cut off, or belongs to another GPU, version or model.
    GpuMemoryError
        If the memory of the GPU does not suffice.
    """

    def __init__(self, blob: bytes, spec: ModelSpec, api: TensorRt, cuda: CudaDevice) -> None:
        self.spec, self._api, self._cuda = spec, api, cuda
        self.backend = f'{api.name} {api.version} on {cuda.description}'
        self._buffers: dict[str, Buffer] = {}
        self._graph: Any = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._stream = cuda.make_stream()
        try:
            self._engine, self._context = _open(blob, api, cuda)
            self._inspect()
            self._infer([{name: np.zeros(self._nominal(name), self._dtypes[name])
                          for name in self._inputs}])
        except BaseException:
            self.close()
            raise

    def infer(self, image: np.ndarray, **extra_inputs: np.ndarray) -> Answer:
        """Run the network; the GIL is free meanwhile.

        Parameters
        ----------
        image : (1, 3, h, w) float32 array, or (H, W, 3) uint8 where `image_size` is not None
            Of a focus stack (1, N, 3, h, w).
        **extra_inputs : (1, N) float32 arrays
            Those that the contract names.

        Returns
        -------
        depth : (h, w) float32 array
        confidence : (h, w) float32 array or None
            Both are overwritten by the next call.

        Raises
        ------
        ImageError
            If the engine does not take an input of this shape or type.
        GpuLostError
            If the GPU fails for good: run the model elsewhere.
        GpuMemoryError
            If the memory of the GPU does not suffice for this size.
        BackendError
            If the run fails otherwise.
        """
        return self._infer([{self._image: image, **extra_inputs}])[0]

    def infer_batch(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """Run the network on up to `batch` images, such as those of several cameras, at once.

        Shapes, results and errors are those of `infer`; all images have the same shape.
        """
        if not 1 <= len(images) <= self.batch:
            raise ImageError(f'{len(images)} images for an engine that takes 1 to {self.batch}; '
                             'build it with a larger batch')
        return self._infer([{self._image: image} for image in images])

    def _infer(self, feeds: list[dict[str, np.ndarray]]) -> list[Answer]:
        """Run each feed in a slot of its own of the batch."""
        self._check(feeds)
        self._cuda.bind_thread()
        # a camera image has no axis for the batch, all others have
        inner = {name: array.shape if name in FOLDED else array.shape[1:]
                 for name, array in feeds[0].items()}
        self._plan({name: (self.batch, *shape) for name, shape in inner.items()})
        for i, feed in enumerate(feeds):
            for name, array in feed.items():
                np.copyto(self._buffers[name].array[i], array.reshape(inner[name]))
        self._run()
        depth = self._buffers['depth'].array
        sure = self._buffers['confidence'].array if self.spec.confidence else None
        return [(depth[i, 0], None if sure is None else sure[i, 0]) for i in range(len(feeds))]

    def close(self) -> None:
        """Give back all memory of the GPU; an engine may be closed twice."""
        try:
            self._release()
            if self._stream:
                self._cuda.destroy_stream(self._stream)
        except GpuLostError as error:
            # The driver has taken everything already.
            _LOG.warning('%s', error)
        self._stream = 0
        self._context = self._engine = None

    def _inspect(self) -> None:
        """Read inputs and outputs of the engine and compare them with the contract."""
        trt, engine = self._api.module, self._engine
        names = [engine.get_tensor_name(i) for i in range(engine.num_io_tensors)]
        # An engine that takes camera images says so by the name of its input.
        self._image = next((name for name in names if name in FOLDED), INPUT)
        self.image_order = FOLDED.get(self._image, '')
        self._inputs = [self._image, *self.spec.extra_inputs]
        self._outputs = ['depth', *(['confidence'] if self.spec.confidence else [])]
        wanted = [*self._inputs, *self._outputs]
        if sorted(names) != sorted(wanted):
            raise BackendError(f'the engine has the inputs and outputs {", ".join(names)}; model '
                               f'{self.spec.name} has {", ".join(wanted)}. It belongs to '
                               'another model: build it anew')
        types = {trt.DataType.FLOAT: np.float32, trt.DataType.UINT8: np.uint8}
        self._dtypes = {name: np.dtype(types[engine.get_tensor_dtype(name)]) for name in names}
        self._rules = {name: tuple(engine.get_tensor_shape(name)) for name in self._inputs}
        shape = self._rules[self._image]
        self.image_size = (shape[1], shape[2]) if self.image_order else None
        self.batch = shape[0]
        if self.image_size:
            self._rules[self._image] = shape[1:]
        for name in self._inputs if not self.image_size else self._inputs[1:]:
            self._rules[name] = (1, *self._rules[name][1:])

    def _nominal(self, name: str) -> tuple[int, ...]:
        rule = self._rules[name]
        if -1 not in rule:
            return rule
        # the size that the engine was made fast for
        _, typical, _ = self._engine.get_tensor_profile_shape(name, 0)
        return (1, *tuple(typical)[1:])

    def _check(self, feeds: list[dict[str, np.ndarray]]) -> None:
        for feed in feeds:
            if sorted(feed) != sorted(self._inputs):
                raise ImageError(f'the inputs are {", ".join(feed)}; model {self.spec.name} takes '
                                 f'{", ".join(self._inputs)}')
            for name, array in feed.items():
                rule, dtype = self._rules[name], self._dtypes[name]
                fits = array.ndim == len(rule) and all(
                    r in (-1, s) for r, s in zip(rule, array.shape))
                if not fits or array.dtype != dtype or array.shape != feeds[0][name].shape:
                    shown = ['any' if r == -1 else r for r in rule]
                    raise ImageError(f'engine input {name} has the shape {list(array.shape)} and '
                                     f'type {array.dtype}; this engine takes {shown}, '
                                     f'{dtype.name}')

    def _plan(self, shapes: dict[str, tuple[int, ...]]) -> None:
        """Make buffers and the graph for inputs of these shapes, unless they are there."""
        if shapes == self._shapes:
            return
        self._release()
        for name, shape in shapes.items():
            if not self._context.set_input_shape(name, shape):
                raise ImageError(f'network input {name} {list(shape)} is outside of the sizes '
                                 f'that the engine was built for ({self._api.log.take_errors()}); '
                                 'build it for these')
        for name in (*self._inputs, *self._outputs):
            size = tuple(self._context.get_tensor_shape(name))
            self._buffers[name] = self._cuda.allocate(size, self._dtypes[name])
            self._context.set_tensor_address(name, self._buffers[name].pointer)
        # The first run loads kernels and allocates, which a graph cannot record.
        self._enqueue()
        self._cuda.wait(self._stream)
        self._record()
        self._shapes = shapes

    def _record(self) -> None:
        """Record a frame as a CUDA graph; an engine that cannot be recorded runs without."""
        context = self._context
        if hasattr(context, 'is_stream_capturable') and not context.is_stream_capturable(
                self._stream):
            return
        try:
            self._cuda.begin_capture(self._stream)
            try:
                self._enqueue()
            except BackendError:
                self._drop_capture()
                raise
            self._graph = self._cuda.end_capture(self._stream)
        except GpuLostError:
            raise
        except BackendError as error:
            _LOG.info('%s runs without a CUDA graph (%s)', self.spec.name, error)

    def _drop_capture(self) -> None:
        try:
            self._cuda.destroy_graph(self._cuda.end_capture(self._stream))
        except GpuLostError:
            raise
        except BackendError:
            pass    # the recording was void: ending it says so once more

    def _enqueue(self) -> None:
        for name in self._inputs:
            self._cuda.upload(self._buffers[name], self._stream)
        if not self._context.execute_async_v3(self._stream):
            # A broken GPU is told apart from a refusal by the driver.
            self._cuda.check_lost()
            raise BackendError(f'model {self.spec.name} does not run on {self.backend} '
                               f'({self._api.log.take_errors()}); build the engine anew, or '
                               'choose another backend')
        for name in self._outputs:
            self._cuda.download(self._buffers[name], self._stream)

    def _run(self) -> None:
        if self._graph is None:
            self._enqueue()
        else:
            self._cuda.launch(self._graph, self._stream)
        self._cuda.wait(self._stream)

    def _release(self) -> None:
        """Give back graph and buffers."""
        self._shapes = {}
        if self._graph is not None:
            graph, self._graph = self._graph, None
            self._cuda.destroy_graph(graph)
        while self._buffers:
            self._cuda.free(self._buffers.popitem()[1])


def _open(blob: bytes, api: TensorRt, cuda: CudaDevice) -> tuple[Any, Any]:
    """Deserialise an engine and make its execution context."""
    api.log.take_errors()
    runtime = api.module.Runtime(api.log)
    engine = runtime.deserialize_cuda_engine(blob) if len(blob) else None
    if engine is None:
        reasons = api.log.take_errors() or f'{len(blob)} bytes'
        raise BackendError(f'{api.name} {api.version} does not load the engine on '
                           f'{cuda.description} ({reasons}); it is cut off or was built for '
                           'another GPU or version: build it anew')
    context = engine.create_execution_context()
    if context is None:
        cuda.check_lost()
        raise BackendError('the engine cannot be made ready, mostly for want of GPU memory '
                           f'({api.log.take_errors()}); end what else uses the GPU, or choose a '
                           'smaller model or input size')
    return engine, context
