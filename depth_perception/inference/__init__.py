"""Engines that run an exported model; a backend's library is imported when it is asked for."""

from __future__ import annotations

from depth_perception.estimator import Engine
from depth_perception.model_spec import find_model, read_spec

BACKENDS = ('auto', 'cpu', 'cuda')


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
