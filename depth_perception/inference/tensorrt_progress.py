"""How far a TensorRT build is, told to a function that may stop it."""

from __future__ import annotations

from typing import Any

from depth_perception.inference.engine_cache import BuildStopped, Progress
from depth_perception.inference.tensorrt_api import TensorRt


def make_monitor(api: TensorRt, progress: Progress) -> Any:
    """Return a progress monitor that calls ``progress(share, phase)``."""
    trt = api.module

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, list[float]] = {}   # name -> [start, width, steps, done]
            self._share = 0.0
            self._stop: BaseException | None = None

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            start, width = 0.0, 1.0
            if parent in self._phases:
                above = self._phases[parent]
                width = above[1] / max(1.0, above[2])
                start = above[0] + width * above[3]
            self._phases[phase] = [start, width, float(steps), 0.0]
            self._tell(start, phase)

        def step_complete(self, phase: str, step: int) -> bool:
            entry = self._phases.get(phase)
            if entry is None:
                return self._stop is None
            entry[3] = step + 1.0
            return self._tell(entry[0] + entry[1] * entry[3] / max(1.0, entry[2]), phase)

        def phase_finish(self, phase: str) -> None:
            start, width, *_ = self._phases.pop(phase, (0.0, 0.0))
            self._tell(start + width, phase)

        def _tell(self, share: float, phase: str) -> bool:
            """Whether to go on. Phases overlap: the share never falls."""
            self._share = max(self._share, min(share, 1.0))
            # An exception must not cross TensorRT's C++, Ctrl-C's least of all.
            try:
                if self._stop is None and not progress(self._share, phase):
                    self._stop = BuildStopped('the build was stopped')
            except BaseException as error:  # noqa: BLE001
                self._stop = error
            return self._stop is None

        def raise_if_stopped(self) -> None:
            if self._stop is not None:
                raise self._stop

    return Monitor()
