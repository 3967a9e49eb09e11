"""The depth node with one handler of faults taken out; of the fault suite, for no other use.

    python crippled_node.py HANDLER --ros-args ...
"""

from __future__ import annotations

import sys

from depth_perception.image_encodings import MessageError
from depth_perception.inference.engine_cache import CacheError, EngineCache
from depth_perception.nodes import _camera_info, _frame_loop, depth_node
from depth_perception.nodes._diagnostics import Health
from depth_perception.nodes._engine import EngineHost
from depth_perception.nodes._frame_loop import FrameLoop
from depth_perception.nodes._inputs import Input
from depth_perception.nodes._parameters import ParameterServer


def without_message_errors() -> None:
    """A malformed message is a bug like any other."""
    del _frame_loop.REASONS[MessageError]


def without_engine_errors() -> None:
    """An engine that fails for a frame is a bug like any other."""
    del _frame_loop.REASONS[_frame_loop.EngineError]


def without_frame_check() -> None:
    """The camera_info of any camera will do."""
    _camera_info.CameraInfoStore._of_frame = lambda self, frame_id: self._latest


def without_size_check() -> None:
    """The camera_info of any size will do."""
    checked = _camera_info.checked_camera

    def unchecked(info, width, height):
        info.width, info.height = width, height
        return checked(info, width, height)

    from depth_perception.nodes import _camera
    _camera.checked_camera = unchecked


def without_stamp_watch() -> None:
    """Nobody looks at stamps."""
    FrameLoop._watch_stamp = lambda self, stamp: None


def without_silence() -> None:
    """Nobody asks why nothing comes."""
    Input.complaint = lambda self: None


def without_transport() -> None:
    """Nobody looks at shared memory."""
    Input._small_sender = lambda self, publishers: None


def without_clock_watch() -> None:
    """Nobody sees that time stands still."""
    FrameLoop.time_stands = lambda self: False


def without_refusals() -> None:
    """Who sets a parameter to nonsense is told, the diagnostics are not."""
    Health.note = lambda self, name, text: None


def without_old_model() -> None:
    """After a model that cannot be loaded, the parameter tells what does not serve."""
    EngineHost._keep_the_old_one = lambda self: setattr(self._loader, 'refusal', '')


def without_qos_check() -> None:
    """All publishers are taken for heard."""
    Input._fits = lambda self, publisher: True


def without_cache_errors() -> None:
    """A cache that cannot be written is a bug like any other."""
    write = EngineCache.write

    def unprepared(self, *arguments):
        try:
            write(self, *arguments)
        except CacheError as error:
            raise RuntimeError from error

    EngineCache.write = unprepared


def without_parameter_check() -> None:
    """Any value of a parameter is taken."""
    ParameterServer._apply = lambda self, given: None


HANDLERS = {name.removeprefix('without_'): value for name, value in sorted(globals().items())
            if name.startswith('without_')}

if __name__ == '__main__':
    HANDLERS[sys.argv[1]]()
    raise SystemExit(depth_node.main())
