"""Engines that run an exported model; a backend's library is imported when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass, replace
import os
from typing import TYPE_CHECKING

from depth_perception.estimator import Engine
from depth_perception.model_spec import find_model, read_spec

if TYPE_CHECKING:
    from pathlib import Path

    from depth_perception.inference.engine_cache import BuildOptions
    from depth_perception.inference.engine_store import EngineStore
    from depth_perception.inference.serving import ServingEngine

# ONNX Runtime of 2026 else writes a telemetry database below the user's cache folder; whether it
# sends anything is not known. It reads this when it is loaded.
os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')

BACKENDS = ('auto', 'cpu', 'cuda')
# Those whose engine is built first, with the precision that `auto` means.
BUILT = {'tensorrt': 'fp16', 'tensorrt_ep': 'fp16', 'graph': 'fp32', 'openvino': 'fp16'}
PRECISIONS = ('auto', 'fp32', 'fp16', 'mixed', 'int8')


class BackendError(ValueError):
    """A backend that does not exist, is not installed, or refuses the model."""


def load(model: str, *, backend: str = 'auto', threads: int = 0) -> Engine:
    """Load a model, ready to run: it is warmed up at its nominal size.

    Parameters
    ----------
    model : str
        Name or path, see `depth_perception.model_spec.find_model`.
    backend : str
        ``cpu``, ``cuda``, or ``auto``: CUDA where it works, else the CPU.
    threads : int
        CPU threads of the engine; 0: one for each core.

    Raises
    ------
    ModelError
        If the model is not found, or not as its contract says.
    BackendError
        If the backend is unknown or not available, or refuses the model.
    """
    if backend not in BACKENDS:
        raise BackendError(f'backend is {backend!r}; it must be one of {", ".join(BACKENDS)}')
    if threads < 0:
        raise BackendError(f'threads is {threads}; it must be 0 (one for each core) or more')
    path = find_model(model)
    spec = read_spec(path)
    try:
        from depth_perception.inference.onnx_engine import OnnxEngine
    except ImportError as error:
        raise BackendError(f'ONNX Runtime cannot be imported ({error}); install it with '
                           '"pip install onnxruntime"') from error
    return OnnxEngine(path, spec, backend=backend, threads=threads)


@dataclass(frozen=True)
class EngineSettings:
    """What `serve` is asked for.

    Attributes
    ----------
    backend : str
        One of BACKENDS, or of BUILT: ``tensorrt``; ``tensorrt_ep``, ONNX Runtime's own provider
        of it; ``graph``, ONNX Runtime on the CPU with a graph optimised beforehand;
        ``openvino``, in BF16 on the CPU by ONNX Runtime's provider. ``auto``: TensorRT where it
        and a GPU are, else CUDA, else the CPU.
    precision : str
        One of PRECISIONS; ``auto`` is fp16 for TensorRT and OpenVINO, fp32 else.
    threads : int
        CPU threads; 0: one for each core.
    engine_file : str
        Where the engine lies or shall lie; '': in the cache.
    force : bool
        Build anew whatever the cache holds.
    calibration : str
        For int8: folder, video or bag of images of the robot's camera.
    batch : int
        Most images in one call, for several cameras; a model that takes only one is used all the
        same.
    batch_on_cpu : bool
        Whether also on the CPU, which gains nothing by it.
    """

    backend: str = 'auto'
    precision: str = 'auto'
    threads: int = 0
    engine_file: str = ''
    force: bool = False
    calibration: str = ''
    batch: int = 1
    batch_on_cpu: bool = True


def serve(model: str, settings: EngineSettings = EngineSettings()) -> ServingEngine:
    """Load a model so that it answers at once, and better as soon as its engine is built.

    Raises
    ------
    ModelError
        If the model is not found, or not as its contract says.
    BackendError
        If the settings are impossible here, or ONNX Runtime refuses the model.
    """
    settings = _resolved(settings)
    path = find_model(model)
    spec = read_spec(path)
    from depth_perception.inference.serving import ServingEngine

    if settings.backend not in BUILT:
        return ServingEngine(path, spec, plain_backend=settings.backend, threads=settings.threads,
                             batch=settings.batch, batch_on_cpu=settings.batch_on_cpu)
    plain = 'cpu' if settings.backend in ('graph', 'openvino') else 'auto'
    return ServingEngine(path, spec, plain_backend=plain, threads=settings.threads,
                         store=make_store(path, settings), force=settings.force,
                         batch=settings.batch, batch_on_cpu=settings.batch_on_cpu)


def make_store(model: str | Path, settings: EngineSettings,
               options: BuildOptions | None = None) -> EngineStore:
    """Say how engines of a model are built and where they are kept.

    Parameters
    ----------
    model : str or Path
    settings : EngineSettings
        With a backend of BUILT.
    options : BuildOptions, optional
        Sizes and flags; by default those for the usual cameras.

    Raises
    ------
    ModelError, BackendError
        As `serve` does.
    """
    settings = _resolved(settings)
    path = find_model(model)
    spec = read_spec(path)
    from depth_perception.inference.engine_cache import BuildOptions, EngineCache
    from depth_perception.inference.engine_store import EngineStore, build_sizes

    if options is None:
        flags = {'calibration': settings.calibration} if settings.precision == 'int8' else {}
        if settings.batch > 1 and settings.backend == 'tensorrt':
            flags['batch'] = str(settings.batch)
        options = BuildOptions(settings.precision, *build_sizes(spec), flags)
    return EngineStore(path, spec, _builder(settings), options, EngineCache(),
                       settings.engine_file)


def _resolved(settings: EngineSettings) -> EngineSettings:
    """The settings with ``auto`` replaced and checked against each other."""
    known = (*BACKENDS, *BUILT)
    if settings.backend not in known:
        raise BackendError(f'backend is {settings.backend!r}; it must be one of '
                           f'{", ".join(known)}')
    if settings.precision not in PRECISIONS:
        raise BackendError(f'precision is {settings.precision!r}; it must be one of '
                           f'{", ".join(PRECISIONS)}')
    if settings.backend == 'auto' and _has_tensorrt():
        settings = replace(settings, backend='tensorrt')
    if settings.backend in BUILT:
        auto = settings.precision == 'auto'
        return replace(settings, precision=BUILT[settings.backend]) if auto else settings
    if settings.precision not in ('auto', 'fp32'):
        raise BackendError(f'precision is {settings.precision}, which needs an engine; backend '
                           f'{settings.backend} runs the model as it is: choose backend '
                           f'{" or ".join(BUILT)}, or precision auto')
    if settings.engine_file:
        raise BackendError(f'engine_file_path is {settings.engine_file!r}, but backend '
                           f'{settings.backend} has no engine; choose backend '
                           f'{" or ".join(BUILT)}, or leave it empty')
    return settings


def _has_tensorrt() -> bool:
    """Whether TensorRT and a GPU to run it on are here."""
    from depth_perception.inference.cuda_device import find_device
    from depth_perception.inference.tensorrt_api import find_tensorrt

    try:
        return find_device() is not None and find_tensorrt() is not None
    except BackendError:
        return False


def _builder(settings: EngineSettings):
    if settings.backend == 'tensorrt':
        from depth_perception.inference.tensorrt_builder import TensorRtBuilder

        return TensorRtBuilder()
    from depth_perception.inference.graph_builder import GraphBuilder

    return GraphBuilder('cpu' if settings.backend == 'graph' else settings.backend,
                        settings.threads)
