"""ONNX Runtime's own graph as an engine: optimised once for this machine, then kept.

What is kept is no compiled code but the ONNX graph after ONNX Runtime's optimisation for this
CPU: constants folded, operators fused, weights in the layout of its kernels; for ``tensorrt_ep``
the graph in its precision, whose compiled parts the provider keeps by itself.
"""

from __future__ import annotations

import os
from pathlib import Path
import platform
import re
import tempfile

import onnx
import onnxruntime as ort

from depth_perception.estimator import Engine
from depth_perception.inference import BackendError
from depth_perception.inference.engine_cache import BuildOptions, BuildStopped, Progress
from depth_perception.inference.onnx_engine import OnnxEngine, open_session, session_options
from depth_perception.inference.tensorrt_network import BuildFlags, prepare
from depth_perception.model_spec import ModelSpec, read_spec

_LARGEST_PROTO = (1 << 31) - (1 << 20)      # protobuf's limit, less what a session adds


class GraphBuilder:
    """Builds and loads graphs; see `depth_perception.inference.engine_cache.Builder`.

    Parameters
    ----------
    backend : str
        ``cpu``, ``tensorrt_ep`` or ``openvino``, whose ``fp16`` is BF16 computed on the CPU.
    threads : int
        Of the engine on the CPU; 0: one for each core.
    """

    def __init__(self, backend: str = 'cpu', threads: int = 0) -> None:
        self._backend, self._threads = backend, threads
        self.name = 'onnxruntime graph' if backend == 'cpu' else f'onnxruntime {backend}'
        self.version = ort.__version__
        self.device = gpu_name() if backend == 'tensorrt_ep' else cpu_name()

    def build(self, model_path: Path, options: BuildOptions, progress: Progress) -> bytes:
        """Convert the model to its precision and optimise the graph.

        Raises
        ------
        BackendError
            If ONNX Runtime refuses the model, the network is too large to be one file, or INT8
            has no calibration images, or the disk is full.
        BuildStopped
            If `progress` returned False.
        """
        _check_room(model_path.stat().st_size)
        with tempfile.TemporaryDirectory(prefix='depth_perception_graph_') as scratch:
            _go_on(progress, 0.0, f'converting to {options.precision}')
            file = self._converted(model_path, options, Path(scratch))
            if self._backend == 'cpu':
                _go_on(progress, 0.5, 'optimising the graph')
                file = _optimised(file, Path(scratch) / 'optimised.onnx')
            if file.stat().st_size > _LARGEST_PROTO:
                raise BackendError(f'{model_path} is too large for one graph; use backend cpu')
            _go_on(progress, 1.0, 'done')
            return file.read_bytes()

    def _converted(self, model_path: Path, options: BuildOptions, scratch: Path) -> Path:
        flags = BuildFlags.parse(options.flags)
        if self._backend == 'openvino' and options.precision == 'fp16':
            return model_path       # OpenVINO itself converts: FP16 it would compute in FP32
        if self._backend == 'openvino' and options.precision != 'int8':
            raise BackendError('OpenVINO is of use in fp16 and int8 only: in fp32 ONNX Runtime is '
                               'as fast')
        if options.precision != 'int8' or self._backend == 'tensorrt_ep':
            return prepare(model_path, options, flags, scratch)
        from depth_perception.inference.int8 import Calibration
        from depth_perception.inference.int8_cpu import to_int8_cpu

        model = to_int8_cpu(onnx.load(str(model_path)), read_spec(model_path),
                            Calibration(flags.calibration, flags.calibration_method))
        onnx.save(model, str(scratch / 'int8.onnx'))
        return scratch / 'int8.onnx'

    def load(self, blob: bytes, spec: ModelSpec) -> Engine:
        """Make a warm engine; BackendError if `blob` is no graph for this ONNX Runtime."""
        return GraphEngine(blob, spec, self._backend, self._threads)


class GraphEngine(OnnxEngine):
    """ONNX Runtime on a graph of `GraphBuilder`."""

    def __init__(self, blob: bytes, spec: ModelSpec, backend: str, threads: int) -> None:
        # By a file: from bytes ONNX Runtime parses under the GIL, and the frames would wait
        # (measured with 142 MB: 0.5 s and more, against 0.02 s).
        _check_room(len(blob))
        with tempfile.NamedTemporaryFile(prefix='depth_perception_', suffix='.onnx') as file:
            file.write(blob)
            file.flush()
            super().__init__(Path(file.name), spec, backend=backend, threads=threads,
                             optimised=backend == 'cpu')
        self.backend += ' (optimised graph)' if backend == 'cpu' else ''


def _check_room(size: int) -> None:
    """Raise BackendError unless a file of `size` bytes can be written where temporary ones go."""
    try:
        with tempfile.TemporaryFile() as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        raise BackendError(
            f'no room for {size / 1e6:.1f} MB of temporary files ({error.strerror}); free some '
            'space, or set TMPDIR to another folder') from None


def cpu_name() -> str:
    """Name of the CPU as the kernel tells it; a graph is laid out for its vector units."""
    try:
        text = Path('/proc/cpuinfo').read_text(encoding='utf-8')
    except OSError:
        text = ''
    found = re.search(r'^(?:model name|Model)\s*:\s*(.+)$', text, re.MULTILINE)
    units = re.search(r'^(?:flags|Features)\s*:\s*(.+)$', text, re.MULTILINE)
    vectors = sorted(set(units.group(1).split()) & _VECTOR_UNITS) if units else []
    return ' '.join([found.group(1) if found else platform.machine(), *vectors])


# Those that decide which kernels ONNX Runtime takes.
_VECTOR_UNITS = {'avx', 'avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'avx_vnni', 'amx_int8',
                 'amx_bf16', 'asimd', 'asimdhp', 'asimddp', 'i8mm', 'bf16', 'sve'}


def gpu_name() -> str:
    """The first GPU; BackendError where there is none."""
    from depth_perception.inference.cuda_device import find_device

    device = find_device()
    if device is None:
        raise BackendError('there is no CUDA device here; choose the backend cpu or graph')
    return device.description


def _go_on(progress: Progress, share: float, what: str) -> None:
    if not progress(share, what):
        raise BuildStopped(what)


def _optimised(file: Path, out: Path) -> Path:
    options = session_options(1)
    options.optimized_model_filepath = str(out)
    open_session(file, 'cpu', options)
    return out
