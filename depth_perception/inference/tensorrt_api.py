"""Which TensorRT is installed, and what its log says.

Three releases count: TensorRT 10 (JetPack 6 and desktop), TensorRT 11, and TensorRT for RTX. Code
keeps to the names that all three have; what one of them lacks stands behind ``hasattr``
(test/inference/test_tensorrt_names.py holds the table).
"""

from __future__ import annotations

from dataclasses import dataclass
import functools
import importlib
import logging
from typing import Any

from depth_perception.inference import BackendError

MODULES = ('tensorrt', 'tensorrt_rtx')

_LOG = logging.getLogger('depth_perception.tensorrt')


@dataclass(frozen=True)
class TensorRt:
    """One TensorRT: its module, and its log, of which there may be only one in a process."""

    module: Any
    log: Any

    @property
    def name(self) -> str:
        """``tensorrt`` or ``tensorrt_rtx``."""
        return self.module.__name__

    @property
    def version(self) -> str:
        """Such as ``10.3.0``; an engine is good for this version alone."""
        return self.module.__version__


@functools.cache
def find_tensorrt(name: str = '') -> TensorRt:
    """Return the TensorRT called `name`, by default the first of MODULES that is installed.

    Raises
    ------
    BackendError
        If there is none, or its libraries do not load.
    """
    reasons = []
    for candidate in [name] if name else MODULES:
        try:
            module = importlib.import_module(candidate)
        except (ImportError, OSError) as error:     # OSError: of ctypes, a library is missing
            reasons.append(str(error))
        else:
            return TensorRt(module, _make_log(module))
    raise BackendError(
        f'TensorRT cannot be imported ({"; ".join(reasons)}); on a Jetson install it with "apt '
        'install tensorrt python3-libnvinfer", elsewhere with "pip install tensorrt" or, for RTX '
        'cards, "pip install tensorrt-rtx-cu13"')


def _make_log(module: Any) -> Any:
    """Make a logger that passes everything on and remembers what went wrong."""
    levels = {module.ILogger.INTERNAL_ERROR: logging.ERROR, module.ILogger.ERROR: logging.ERROR,
              module.ILogger.WARNING: logging.DEBUG, module.ILogger.INFO: logging.DEBUG}

    class Log(module.ILogger):
        def __init__(self) -> None:
            module.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            level = levels.get(severity)
            if level == logging.ERROR:
                # Not shown by itself: it becomes part of the exception that follows.
                self.errors.append(message)
                level = logging.DEBUG
            if level is not None:
                _LOG.log(level, '%s', message)

        def take_errors(self) -> str:
            """What went wrong since the last call, each message once, in one line."""
            taken = '; '.join(dict.fromkeys(' '.join(text.split()) for text in self.errors))
            self.errors.clear()
            return taken

    return Log()
