"""Builds TensorRT engines: one way for TensorRT 10, TensorRT 11 and TensorRT for RTX.

The network is strongly typed: each layer runs in the type that the ONNX file gives it, and the
precision asked for is put into the ONNX file beforehand (`precision`, `int8`).
"""

from __future__ import annotations

from collections.abc import Iterator
import logging
import os
from pathlib import Path
import re
import tempfile
from typing import Any

import onnx

from depth_perception.estimator import Engine
from depth_perception.inference import BackendError
from depth_perception.inference.cuda_device import CudaDevice, find_device
from depth_perception.inference.engine_cache import BuildOptions, Progress, cache_folder
from depth_perception.inference.tensorrt_api import TensorRt, find_tensorrt
from depth_perception.inference.tensorrt_network import BuildFlags, prepare
from depth_perception.inference.tensorrt_progress import make_monitor
from depth_perception.model_spec import ModelSpec, read_spec

_LOG = logging.getLogger(__name__)
NO_DEVICE = 'ahead of time, no GPU'     # for an engine that no GPU has seen
_NO_MEMORY = re.compile(r'out of memory|OutOfMemory|insufficient memory|memory allocation', re.I)


class TensorRtBuilder:
    """Builds and loads engines; see `depth_perception.inference.engine_cache.Builder`.

    Parameters
    ----------
    name : str
        ``tensorrt`` or ``tensorrt_rtx``; by default the first that is installed.
    cuda : CudaDevice, optional
        The GPU; by default the first one. Without any, only TensorRT for RTX builds.

    Raises
    ------
    BackendError
        If TensorRT is not installed.
    """

    def __init__(self, name: str = '', cuda: CudaDevice | None = None) -> None:
        self._trt = find_tensorrt(name)
        self._cuda = find_device() if cuda is None else cuda
        self.name, self.version = self._trt.name, self._trt.version
        self.device = NO_DEVICE if self._cuda is None else self._cuda.description

    def build(self, model_path: Path, options: BuildOptions, progress: Progress) -> bytes:
        """Build an engine; Ctrl-C ends the build as well as `progress` does.

        Raises
        ------
        BackendError
            If the network has operators that TensorRT lacks (they are named), if memory or the
            calibration images are missing, or if the version cannot do what the flags say.
        BuildStopped
            If `progress` returned False.
        """
        flags = BuildFlags.parse(options.flags)
        self._check_device()
        with tempfile.TemporaryDirectory(prefix='depth_perception_build_') as scratch:
            file = prepare(model_path, options, flags, Path(scratch))
            return self._build(file, read_spec(model_path), options, flags, progress)

    def load(self, blob: bytes, spec: ModelSpec) -> Engine:
        """Make a warm engine of what `build` gave.

        Raises
        ------
        BackendError
            If there is no GPU, or the engine is cut off or belongs to another GPU or version.
        """
        from depth_perception.inference.tensorrt_engine import TensorRtEngine

        if self._cuda is None:
            raise BackendError('there is no CUDA device here to run a TensorRT engine on; '
                               'choose the backend cpu')
        return TensorRtEngine(blob, spec, self._trt, self._cuda)

    def _check_device(self) -> None:
        if self._cuda is None and not hasattr(self._trt.module, 'ComputeCapability'):
            raise BackendError(f'{self.name} {self.version} builds engines only where a CUDA '
                               'device is; without one, TensorRT for RTX builds ahead of time '
                               '("pip install tensorrt-rtx-cu13")')

    def _build(self, file: Path, spec: ModelSpec, options: BuildOptions, flags: BuildFlags,
               progress: Progress) -> bytes:
        trt, log = self._trt.module, self._trt.log
        log.take_errors()
        try:
            builder = trt.Builder(log)
        except (TypeError, RuntimeError):   # what becomes of a null pointer in Python
            raise BackendError(f'{self.name} does not start ({log.take_errors()}); update the '
                               'driver to the CUDA of this TensorRT') from None
        network = builder.create_network(
            1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        _parse(self._trt, network, file)
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, flags.workspace_mb << 20)
        fewest, most = spec.frames_range or (spec.frames, spec.frames)
        _add_profile(builder, config, network, options, (fewest, spec.frames, most))
        if flags.dla >= 0:
            _use_dla(self._trt, builder, config, flags.dla)
        if flags.compute_capabilities:
            _target(self._trt, config, flags.compute_capabilities)
        monitor = make_monitor(self._trt, progress)
        config.progress_monitor = monitor
        timings = _TimingFile(self, config)
        blob = builder.build_serialized_network(network, config)
        monitor.raise_if_stopped()
        if blob is None:
            raise _failure(f'{self.name} {self.version} does not build {file.name}',
                           log.take_errors())
        log.take_errors()       # without a GPU it complains of that and builds all the same
        timings.save()
        return bytes(memoryview(blob))


def _failure(what: str, reasons: str) -> BackendError:
    if _NO_MEMORY.search(reasons):
        return BackendError(f'{what}: the memory of the GPU does not suffice ({reasons}); end '
                            'what else uses it, or build for a smaller size or workspace')
    return BackendError(f'{what} ({reasons or "it gives no reason"}); try another precision, '
                        'or let ONNX Runtime run the model')


def _parse(api: TensorRt, network: Any, file: Path) -> None:
    trt = api.module
    parser = trt.OnnxParser(network, api.log)
    if parser.parse_from_file(str(file)):
        api.log.take_errors()
        return
    errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
    model = onnx.load(str(file), load_external_data=False)
    unknown = sorted({node.op_type for node in model.graph.node
                      if not parser.supports_operator(node.op_type)})
    reasons = '; '.join(dict.fromkeys(' '.join(text.split()) for text in errors))
    api.log.take_errors()
    if unknown:
        raise BackendError(f'{api.name} {api.version} lacks the operators '
                           f'{", ".join(unknown)} of {file.name}; export the model without them, '
                           'or let ONNX Runtime run it')
    raise BackendError(f'{api.name} {api.version} does not take {file.name} ({reasons}); export '
                       'the model again, or let ONNX Runtime run it')


def _add_profile(builder: Any, config: Any, network: Any, options: BuildOptions,
                 frames: tuple[int, int, int]) -> None:
    """Say which sizes a network of free size has to take, and for which to be fast."""
    profile, needed = builder.create_optimization_profile(), False
    for i in range(network.num_inputs):
        tensor = network.get_input(i)
        shape = tuple(tensor.shape)
        if -1 in shape:
            needed = True
            profile.set_shape(tensor.name, *_sizes(shape, options, frames))
    if needed and config.add_optimization_profile(profile) < 0:
        raise BackendError(f'sizes from {options.smallest} over {options.typical} to '
                           f'{options.largest} fit no network input; give smaller ones first')


def _sizes(shape: tuple[int, ...], options: BuildOptions,
           frames: tuple[int, int, int]) -> Iterator[tuple[int, ...]]:
    """Smallest, typical and largest shape of an input: an image, a stack, or one value a frame."""
    for count, size in zip(frames, (options.smallest, options.typical, options.largest)):
        whole = (shape[0], count, 3, *size) if len(shape) == 5 else (
            (*shape[:2], *size) if len(shape) == 4 else (shape[0], count))
        yield tuple(w if s == -1 else s for s, w in zip(shape, whole))


def _use_dla(api: TensorRt, builder: Any, config: Any, core: int) -> None:
    trt = api.module
    if core >= builder.num_DLA_cores:
        raise BackendError(f'dla is {core}, but {api.name} sees {builder.num_DLA_cores} DLA cores '
                           'here; only Jetson Orin and Xavier have them. Leave dla out')
    config.default_device_type = trt.DeviceType.DLA
    config.DLA_core = core
    config.set_flag(trt.BuilderFlag.GPU_FALLBACK)   # for layers that the DLA lacks


def _target(api: TensorRt, config: Any, names: tuple[str, ...]) -> None:
    """Build ahead of time for GPUs that are not here: TensorRT for RTX alone can."""
    trt = api.module
    if not hasattr(trt, 'ComputeCapability') or not hasattr(config, 'set_compute_capability'):
        raise BackendError(f'compute_capabilities are for TensorRT for RTX; {api.name} '
                           f'{api.version} builds for the GPU that is here')
    known = [name for name in dir(trt.ComputeCapability) if name.startswith('SM')]
    for name in names:
        if name not in known:
            raise BackendError(f'compute capability is {name!r}; it must be one of '
                               f'{", ".join(known)}')
    if hasattr(config, 'num_compute_capabilities'):
        config.num_compute_capabilities = len(names)
    for i, name in enumerate(names):
        config.set_compute_capability(getattr(trt.ComputeCapability, name), i)


class _TimingFile:
    """Kernel timings of earlier builds, kept beside the engines: the next build is faster.

    TensorRT for RTX times no kernels at build; there is nothing to keep.
    """

    def __init__(self, builder: TensorRtBuilder, config: Any) -> None:
        device = re.sub(r'[^\w.-]+', '_', builder.device)
        self._path = cache_folder() / f'{builder.name}-{builder.version}-{device}.timings'
        self._cache = None
        if builder.name == 'tensorrt_rtx':
            return
        try:
            known = self._path.read_bytes()
        except OSError:
            known = b''
        self._cache = config.create_timing_cache(known)
        if self._cache is None:     # damaged: begin anew
            self._cache = config.create_timing_cache(b'')
        if self._cache is not None:
            config.set_timing_cache(self._cache, False)

    def save(self) -> None:
        """Keep the timings; a folder that cannot be written costs only the next build time."""
        blob = self._cache.serialize() if self._cache is not None else None
        if blob is None or not memoryview(blob).nbytes:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            draft = self._path.with_suffix(f'.{os.getpid()}')
            draft.write_bytes(memoryview(blob))
            os.replace(draft, self._path)
        except OSError as error:
            _LOG.info('%s: timings are not kept (%s)', self._path, error)


def options_for(spec: ModelSpec, precision: str, **flags: str) -> BuildOptions:
    """Options that build `spec` for its nominal size alone."""
    size = (spec.input_height, spec.input_width)
    return BuildOptions(precision, size, size, size, dict(flags))
