"""ONNX Runtime with several images in one call, where the network allows it."""

from __future__ import annotations

from collections.abc import Sequence
import logging
from pathlib import Path

import numpy as np
import onnx

from depth_perception.inference.image_input import set_batch
from depth_perception.inference.onnx_engine import OnnxEngine, is_for_cpu
from depth_perception.model_spec import ModelError, ModelSpec, load_graph
from depth_perception.preprocessing import ImageError

_LOG = logging.getLogger(__name__)
Answer = tuple[np.ndarray, 'np.ndarray | None']    # depth, confidence
# Sums are ordered otherwise in a batch; a network that mixes its images is off by far more.
TOLERANCE = 1e-3
NO_GAIN = 'the CPU gains nothing by more (max_batch_size overrides)'


class OnnxBatchEngine(OnnxEngine):
    """As OnnxEngine, for up to `batch` images of one size at once.

    Parameters
    ----------
    path : Path
        The ONNX file, exported for one image.
    spec : ModelSpec
    backend, threads
        As of OnnxEngine.
    batch : int
        Most images in one call, at least 2.

    Attributes
    ----------
    batch : int

    Raises
    ------
    ModelError
        If the network has a single image built in, or mixes the images of a batch.
    BackendError
        As OnnxEngine does.
    """

    def __init__(self, path: Path, spec: ModelSpec, *, backend: str, threads: int,
                 batch: int) -> None:
        super().__init__(_any_batch(path), spec, backend=backend, threads=threads)
        self.batch = batch
        self._batches: dict[tuple[int, ...], tuple[np.ndarray, dict[str, np.ndarray]]] = {}
        try:
            self._check_apart()
        except ValueError as error:
            self.close()
            raise ModelError(f'model {spec.name} cannot take several images at once: '
                             f'{error}') from None

    def infer_batch(self, images: Sequence[np.ndarray]) -> list[Answer]:
        """Run the network on up to `batch` images (1, 3, h, w) of one shape.

        Results and errors are those of `infer`, one for each image.
        """
        if not 1 <= len(images) <= self.batch or len({image.shape for image in images}) != 1:
            raise ImageError(f'{len(images)} images of the shapes '
                             f'{sorted({image.shape for image in images})}; it takes 1 to '
                             f'{self.batch} of one shape')
        if len(images) == 1:
            return [self.infer(images[0])]
        self._check(images[0])
        inputs, outputs = self._buffers((len(images), *images[0].shape[1:]))
        for row, image in zip(inputs, images):
            np.copyto(row, image[0])
        self._run({'image': inputs})
        sure = outputs.get('confidence')
        return [(depth[0], None if sure is None else sure[i, 0])
                for i, depth in enumerate(outputs['depth'])]

    def _buffers(self, shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Bind outputs for inputs (n, 3, h, w)."""
        if shape not in self._batches:
            out = (shape[0], 1, *shape[2:])
            self._batches[shape] = np.empty(shape, np.float32), self._new_outputs(out)
        inputs, outputs = self._batches[shape]
        self._bind(outputs)
        self._shape = ()        # a single image binds its own again
        return inputs, outputs

    def _check_apart(self) -> None:
        """Compare two images together with each by itself: no image may know of the other."""
        rng = np.random.default_rng(0)
        noise = [rng.uniform(-1, 1, self.spec.input_shape).astype(np.float32) for _ in range(2)]
        alone = [self.infer(image)[0].copy() for image in noise]
        for one, (other, _) in zip(alone, self.infer_batch(noise)):
            if not np.allclose(one, other, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True):
                raise ModelError('it gives other depth for an image that comes with another one')


def plain_engine(path: Path, spec: ModelSpec, *, backend: str, threads: int,
                 batch: int, batch_on_cpu: bool = True) -> tuple[OnnxEngine, str]:
    """ONNX Runtime for `batch` images, or for single ones and the reason.

    Without `batch_on_cpu` the CPU gets the network as it is, which is loaded and tried sooner.

    Raises
    ------
    BackendError
        As OnnxEngine does.
    """
    reason = ''
    if batch > 1 and not batch_on_cpu and is_for_cpu(backend):
        reason = NO_GAIN
    elif batch > 1:
        try:
            return OnnxBatchEngine(path, spec, backend=backend, threads=threads, batch=batch), ''
        except ModelError as error:
            _LOG.warning('%s', error)
            reason = str(error)
    return OnnxEngine(path, spec, backend=backend, threads=threads), reason


def _any_batch(path: Path) -> bytes:
    """Return the network with a batch dimension that is free.

    Raises
    ------
    ModelError
        If one image is built in, or its weights lie in other files.
    """
    model = load_graph(path)
    if any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in
           model.graph.initializer):
        raise ModelError('its weights lie in files beside it')
    free = set_batch(model, 2)      # refuses a network with one image built in
    for value in (*free.graph.input, *free.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = 'batch'
    return free.SerializeToString()
