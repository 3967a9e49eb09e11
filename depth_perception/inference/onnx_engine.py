"""ONNX Runtime, on the CPU or through one of its execution providers."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as ort_errors

from depth_perception.inference import BackendError
from depth_perception.inference.engine_cache import cache_folder
from depth_perception.model_spec import ModelSpec
from depth_perception.preprocessing import ImageError

_LOG = logging.getLogger(__name__)
_CPU = 'CPUExecutionProvider'
_CUDA = 'CUDAExecutionProvider'
_TENSORRT = 'TensorrtExecutionProvider'
_OPENVINO = 'OpenVINOExecutionProvider'
# By backend: the providers in order; a node of the network that one lacks goes to the next.
_PROVIDERS = {'cpu': (_CPU,), 'cuda': (_CUDA, _CPU), 'tensorrt_ep': (_TENSORRT, _CUDA, _CPU),
              'openvino': (_OPENVINO, _CPU)}
_PACKAGES = {'cuda': 'onnxruntime-gpu', 'tensorrt_ep': 'onnxruntime-gpu',
             'openvino': 'onnxruntime-openvino'}
# What ONNX Runtime raises for a model or a device that it cannot use; they share no base class.
_REFUSALS = (
    ort_errors.EPFail, ort_errors.Fail, ort_errors.InvalidArgument, ort_errors.InvalidGraph,
    ort_errors.InvalidProtobuf, ort_errors.NoModel, ort_errors.NoSuchFile,
    ort_errors.NotImplemented, ort_errors.RuntimeException)


class OnnxEngine:
    """Runs an ONNX file; see `depth_perception.estimator.Engine`.

    Parameters
    ----------
    model : Path or bytes
        The ONNX file, or what is in one.
    spec : ModelSpec
        Its contract.
    backend : str
        ``auto``, ``cpu``, ``cuda``, ``tensorrt_ep`` or ``openvino``.
    threads : int
        0: one for each core.
    optimised : bool
        Whether the graph was optimised already for this machine: it is run as it is.

    Raises
    ------
    BackendError
        If a provider is asked for and not available, or ONNX Runtime refuses the model.
    """

    def __init__(self, model: Path | bytes, spec: ModelSpec, *, backend: str, threads: int,
                 optimised: bool = False) -> None:
        self.spec = spec
        options = session_options(threads)
        if optimised:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._session = open_session(model, backend, options)
        self.backend = f'onnxruntime {self._session.get_providers()[0]}'
        self._binding = self._session.io_binding()
        self._shape: tuple[int, ...] = ()
        self._outputs: dict[str, np.ndarray] = {}
        # The first run plans memory and picks kernels: not at the expense of a frame.
        self.infer(np.zeros(spec.input_shape, np.float32),
                   **{name: np.ones((1, spec.frames), np.float32) for name in spec.extra_inputs})

    def infer(self, image: np.ndarray,
              **extra_inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Run the network; the GIL is free meanwhile.

        Parameters
        ----------
        image : (1, 3, h, w) float32 array, contiguous
            Of a stack (1, N, 3, h, w).
        **extra_inputs : float32 arrays, contiguous
            Those that the contract names; ``focus_distances`` is (1, N).

        Returns
        -------
        depth : (h, w) float32 array
        confidence : (h, w) float32 array or None
            Both are overwritten by the next call.

        Raises
        ------
        ImageError
            If the model does not take an input of this shape, or its other inputs are missing.
        BackendError
            If the run fails, for want of memory for instance.
        """
        self._plan(image)
        self._check_extra(image, extra_inputs)
        self._run({'image': image, **extra_inputs})
        confidence = self._outputs.get('confidence')
        return self._outputs['depth'][0, 0], None if confidence is None else confidence[0, 0]

    def close(self) -> None:
        """Give back the session's memory."""
        del self._binding, self._session

    def _plan(self, image: np.ndarray) -> None:
        """Bind outputs of the image's size, unless they are bound already."""
        if image.shape == self._shape:
            return
        self._check(image)
        self._outputs = self._new_outputs((1, 1, *image.shape[-2:]))
        self._bind(self._outputs)
        self._shape = image.shape

    def _new_outputs(self, shape: tuple[int, ...]) -> dict[str, np.ndarray]:
        names = ('depth', 'confidence') if self.spec.confidence else ('depth',)
        return {name: np.empty(shape, np.float32) for name in names}

    def _bind(self, outputs: dict[str, np.ndarray]) -> None:
        for name, array in outputs.items():
            self._binding.bind_output(name, 'cpu', 0, np.float32, array.shape, array.ctypes.data)

    def _run(self, inputs: dict[str, np.ndarray]) -> None:
        try:
            # Bound anew each time: CUDA copies its input to the device when it is bound.
            for name, array in inputs.items():
                self._binding.bind_cpu_input(name, array)
            self._session.run_with_iobinding(self._binding)
        except (RuntimeError, *_REFUSALS) as error:
            raise BackendError(f'model {self.spec.name} does not run on {self.backend} ({error}); '
                               'try another backend, or export the model again') from None

    def _check(self, image: np.ndarray) -> None:
        spec, nominal = self.spec, self.spec.input_shape
        sides, more = image.shape[-2:], image.shape[:-2]
        rule: list[object] = list(nominal)
        fits, ending = sides == nominal[-2:], ''
        if spec.size_multiple:
            fits = all(size and size % spec.size_multiple == 0 for size in sides)
            rule[-2:], ending = ['h', 'w'], f' with h and w multiples of {spec.size_multiple}'
        if spec.frames_range and len(more) == 3:
            fewest, most = spec.frames_range
            nominal = (*nominal[:1], min(max(more[1], fewest), most), *nominal[2:])
            rule[1] = f'{fewest}..{most}'
        if not fits or more != nominal[:-2]:
            raise ImageError(f'network input has the shape {list(image.shape)}; '
                             f'model {spec.name} takes {rule}{ending}')

    def _check_extra(self, image: np.ndarray, extra_inputs: dict[str, np.ndarray]) -> None:
        names = self.spec.extra_inputs
        shapes = [array.shape for array in extra_inputs.values()]
        if sorted(extra_inputs) != sorted(names) or set(shapes) - {image.shape[:2]}:
            got = ', '.join(f'{k} {list(v.shape)}' for k, v in extra_inputs.items()) or 'none'
            raise ImageError(f'other network inputs are {got}; model {self.spec.name} takes '
                             f'{", ".join(names) or "none"} of shape {list(image.shape[:2])}')


def session_options(threads: int) -> ort.SessionOptions:
    """Options that all sessions have; `threads` 0: one for each core."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: they come as exceptions as well
    # Threads that wait by spinning take a core from the other nodes and gain no latency.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    return options


def open_session(model: Path | bytes, backend: str,
                 options: ort.SessionOptions) -> ort.InferenceSession:
    """Open a session; BackendError as `OnnxEngine` raises it."""
    name = 'the optimised graph' if isinstance(model, bytes) else str(model)
    source = model if isinstance(model, bytes) else str(model)
    try:
        session = ort.InferenceSession(source, options, providers=_providers(
            backend, options.intra_op_num_threads))
    except _REFUSALS as error:
        raise BackendError(f'{name}: ONNX Runtime refuses it ({error}); export the model again, '
                           'or update ONNX Runtime') from None
    _check_provider(session.get_providers()[0], backend)
    return session


def is_for_cpu(backend: str) -> bool:
    """Whether a backend means the CPU here; BackendError if it is not available."""
    return _providers(backend, 0)[0] == _CPU


def _providers(backend: str, threads: int) -> list[str | tuple[str, dict[str, str]]]:
    available = ort.get_available_providers()
    if backend == 'auto':
        backend = 'cuda' if _CUDA in available else 'cpu'
    wanted = _PROVIDERS[backend]
    if wanted[0] not in available:
        raise BackendError(
            f'backend is {backend}, but this ONNX Runtime has only {", ".join(available)}; '
            f'install {_PACKAGES[backend]} instead of onnxruntime, or set the backend to auto or '
            'cpu')
    own = {_TENSORRT: _tensorrt_options, _OPENVINO: lambda: _openvino_options(threads)}
    return [(name, own[name]()) if name in own else name for name in wanted if name in available]


def _tensorrt_options() -> dict[str, str]:
    """Let the provider keep what it builds; the precision is in the ONNX file's types."""
    folder = str(cache_folder() / 'onnxruntime')
    return {'trt_engine_cache_enable': 'True', 'trt_engine_cache_path': folder,
            'trt_timing_cache_enable': 'True', 'trt_timing_cache_path': folder}


def _openvino_options(threads: int) -> dict[str, str]:
    """BF16 where the CPU has it: in FP32 OpenVINO is no faster than ONNX Runtime itself."""
    cpu = {'INFERENCE_PRECISION_HINT': 'bf16', 'PERFORMANCE_HINT': 'LATENCY'}
    if threads:
        cpu['INFERENCE_NUM_THREADS'] = str(threads)
    return {'device_type': 'CPU', 'load_config': json.dumps({'CPU': cpu})}


def _check_provider(provider: str, backend: str) -> None:
    """ONNX Runtime falls back silently where the libraries of a provider do not load."""
    if backend not in ('auto', 'cpu') and provider != _PROVIDERS[backend][0]:
        raise BackendError(
            f'backend is {backend}, but {provider} started instead; install the driver and the '
            f'library versions that {_PACKAGES[backend]} asks for, or set the backend to auto or '
            'cpu')
    if backend == 'auto' and provider == _CPU and _CUDA in ort.get_available_providers():
        _LOG.warning('CUDA does not start here; inference runs on the CPU')
