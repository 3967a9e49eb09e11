"""What the camera node knows of its camera: a calibration, a field of view, or the simulator."""

from __future__ import annotations

from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from depth_perception.calibration import read_calibration
from depth_perception.geometry import Intrinsics
from depth_perception.nodes._messages import camera_info, raw_camera_info
from depth_perception.sources import Frame, SourceError


class Optics:
    """Chooses the camera_info of each frame: calibration first, then simulator, then `hfov_deg`.

    Parameters
    ----------
    file : str
        Calibration YAML; empty: none.
    hfov_deg : float
        Horizontal field of view; 0: unknown.

    Attributes
    ----------
    unknown : bool
        The last frame went out without camera_info.

    Raises
    ------
    CalibrationError
        The file cannot be used.
    """

    def __init__(self, file: str, hfov_deg: float) -> None:
        self._calibration = read_calibration(file) if file else None
        self._hfov_deg = hfov_deg
        self.unknown = False

    def check(self, frame: Frame) -> None:
        """Raise SourceError for a frame of another size than the calibration's."""
        camera = self._calibration
        height, width = frame.image.shape[:2]
        if camera is not None and (camera.width, camera.height) != (width, height):
            raise SourceError(
                f'the frame is {width}x{height} and the calibration is for '
                f'{camera.width}x{camera.height}: use frames of that size, or calibrate for '
                'this one'
            )

    def camera_info(self, frame: Frame, header: Header) -> CameraInfo | None:
        """Return the camera_info of a frame; None where nothing is known of its camera."""
        if self._calibration is not None:
            return raw_camera_info(self._calibration, header)
        if frame.intrinsics is not None:
            return camera_info(frame.intrinsics, header)
        self.unknown = self._hfov_deg == 0.0
        if self.unknown:
            return None
        height, width = frame.image.shape[:2]
        return camera_info(Intrinsics.from_hfov(width, height, self._hfov_deg), header)
