"""The scale of a camera's depth: found by a service, kept in a file, applied to each frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

from depth_perception import scale_file
from depth_perception.geometry import Intrinsics
from depth_perception.model_contract import ModelSpec
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._range import RangeError, RangeInput, RangeSourceParameters
from depth_perception.nodes._scale_job import Job, ScaleService
from depth_perception.range_points import samples, wall_sample
from depth_perception.scale import Scale, ScaleError, ScaleFit, fit_scale
from depth_perception.scale_apply import Alignment, Rescaler
from depth_perception.scale_file import Calibration, ScaleFileError
from depth_perception.scale_session import Walls, check_wall

MUCH_DRIFT = 0.1        # share of the depth that is worth a warning


@dataclass(frozen=True)
class ScaleParameters(RangeSourceParameters):
    """How metres are put right."""

    scale_apply: bool = parameter(
        True, 'correct depth by the scale that ~/calibrate_scale found for this camera and model',
        name='scale.apply')
    scale_file: str = parameter(
        '', 'where that scale is kept; empty: in the data folder of the user, one file for each '
        'camera topic and model', name='scale.file', at_configure=True)
    scale_wall_distance: float = parameter(
        0.0, '~/calibrate_scale looks at a wall at this distance; 0: at the range source',
        name='scale.wall_distance', unit='m', limits=(0.0, 1000.0))
    scale_wall_window: float = parameter(
        0.3, 'share of width and height of the picture that the wall fills, around its middle',
        name='scale.wall_window', limits=(0.01, 1.0))
    scale_frames: int = parameter(
        10, 'frames that ~/calibrate_scale looks at', name='scale.frames', limits=(1, 1000))
    scale_timeout: float = parameter(
        10.0, 'after this time ~/calibrate_scale gives up and says why', name='scale.timeout',
        unit='s', limits=(0.1, 600.0))
    scale_continuous: bool = parameter(
        False, 'follow the range source from frame to frame', name='scale.continuous')
    scale_smoothing: float = parameter(
        0.9, 'weight of the past in that', name='scale.smoothing', limits=(0.0, 0.999))

    def check_scale(self) -> None:
        """Raise ValueError for values that do not fit together."""
        self.check_range_source()
        if self.scale_continuous and self.range_source == 'none':
            raise ScaleError('scale.continuous is true and range.source is none; there is '
                             'nothing to follow: set range.source, or scale.continuous: false')


class ScaleHost:
    """
    Corrects the depth of one camera, and offers ``~/calibrate_scale``.

    Parameters
    ----------
    node : Node
        Has the service; subscribes.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._service = ScaleService(node)
        self._rescaler, self._alignment = Rescaler(), Alignment()
        self._range: RangeInput | None = None
        self._forget()

    def _forget(self) -> None:
        self._walls = Walls()
        self._spec: ModelSpec | None = None
        self._calibration: Calibration | None = None
        self._path = Path()
        self._last_reading = 0
        self._fits = True
        self._faults: dict[str, str] = {}       # of each code, what is wrong

    def activate(self, config: ScaleParameters, spec: ModelSpec, health: Health) -> None:
        """Read the scale of this camera and model, and subscribe to the range source."""
        self._load(config, spec)
        if config.range_source != 'none':
            self._range = RangeInput(self._node, config.range_source, health)
        self._service.open()

    def deactivate(self) -> None:
        """Unsubscribe; it may be so already."""
        self._service.shut('the node was deactivated meanwhile; activate it and call again')
        if self._range is not None:
            self._range.close()
            self._range = None

    def clean_up(self) -> None:
        """Forget the scale; its file stays."""
        self._forget()

    @property
    def has_scale(self) -> bool:
        """Whether there is a scale to apply."""
        return self._calibration is not None and self._node.get_parameter('scale.apply').value

    @property
    def is_calibrating(self) -> bool:
        """Whether frames are needed even if nobody subscribes."""
        return self._service.job is not None

    def prepare(self, config: ScaleParameters, spec: ModelSpec,
                intrinsics: Intrinsics | None) -> Scale | None:
        """
        Return the scale that holds for the next frame; None: its depth stays as it is.

        Parameters
        ----------
        config : ScaleParameters
        spec : ModelSpec
            Of the model; of another one than before the file is read.
        intrinsics : Intrinsics or None
            None: not known, and then there are no metres of a relative model.

        """
        if spec != self._spec:
            self._load(config, spec)
        found = self._calibration
        self._fits = found is None or intrinsics is None or found.fits_lens(intrinsics)
        if not config.scale_apply or not self._fits:
            found = None
        if spec.output_kind == 'relative' and (found is None or intrinsics is None):
            return None
        base = None if found is None else found.scale
        if not config.scale_continuous:
            return base
        return (base or Scale()).times(self._alignment.factor)

    def observe(self, header: Header, depth: np.ndarray, config: ScaleParameters,
                intrinsics: Intrinsics | None) -> None:
        """
        Look at what the model said of a frame, before it is corrected.

        Parameters
        ----------
        header : Header
            Of the image.
        depth : (H, W) float32
            Of the model: metres, or relative inverse depth.
        config : ScaleParameters
        intrinsics : Intrinsics or None
            None: not known.

        """
        job = self._service.job
        if job is not None:
            self._work_on(job, header, depth, config, intrinsics)
        if self._range is not None and intrinsics is not None:
            self._watch_drift(header, depth, config, intrinsics)

    def correct(self, depth: np.ndarray, scale: Scale, config: object,
                out: np.ndarray) -> np.ndarray:
        """Write metres into ``out``; ``depth`` itself is one of a metric model."""
        if self._is_metric:
            return self._rescaler.metric(out, scale, config.min_depth, config.max_depth)
        return self._rescaler.relative(depth, scale, config.min_depth, config.max_depth, out)

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the scale or with the range source."""
        yield from (Finding(Level.WARN, text, code) for code, text in list(self._faults.items()))
        complaint = self._range.complaint() if self._range is not None else None
        if complaint is not None:       # there is depth without it
            yield complaint._replace(level=Level.WARN)
        if not self._fits:
            yield Finding(Level.WARN, (
                f'the scale in {self._path} was made with another field of view and is not '
                'used; calibrate again'), 'SCALE_OF_ANOTHER_LENS')
        drift = self._alignment.drift
        if self._range is not None and abs(drift) > MUCH_DRIFT:
            done = 'corrected' if self._node.get_parameter('scale.continuous').value else (
                'call ~/calibrate_scale, or set scale.continuous')
            yield Finding(Level.WARN, (f'depth is {100 * abs(drift):.0f} % too '
                                       f'{"far" if drift > 0 else "near"} beside the range '
                                       f'source: {done}'), 'SCALE_DRIFT')
        if self.is_calibrating:
            yield Finding(Level.OK, 'calibrating the scale', 'CALIBRATING')

    def values(self) -> dict[str, object]:
        """Give the scale and its drift."""
        found = self._calibration
        told = {'scale': 'none' if found is None else
                f'{found.scale.scale:.5g} {found.scale.shift:+.5g} 1/m ({found.source})'}
        if self._range is not None:
            told['scale drift [%]'] = f'{100.0 * self._alignment.drift:+.2f}'
        return told

    @property
    def _is_metric(self) -> bool:
        return self._spec is not None and self._spec.output_kind != 'relative'

    @property
    def _camera(self) -> str:
        return self._node.resolve_topic_name('image')

    def _load(self, config: ScaleParameters, spec: ModelSpec) -> None:
        self._forget()
        self._spec, self._alignment = spec, Alignment()
        self._path = (Path(config.scale_file).expanduser() if config.scale_file
                      else scale_file.default_path(self._camera, spec.name))
        try:
            self._calibration = scale_file.read(self._path, self._camera, spec.name,
                                                spec.weights_sha256)
        except ScaleFileError as error:
            self._faults['SCALE_FILE_UNUSABLE'] = str(error)
            self._node.get_logger().warning(str(error))

    def _watch_drift(self, header: Header, depth: np.ndarray, config: ScaleParameters,
                     intrinsics: Intrinsics) -> None:
        base = self._calibration.scale if (
            self._calibration is not None and config.scale_apply and self._fits) else None
        if base is None and not self._is_metric:
            return
        try:
            reading = self._range.reading(header, config)
        except RangeError as error:
            self._faults['RANGE_UNUSABLE'] = str(error)
            return
        self._faults.pop('RANGE_UNUSABLE', None)
        if reading.stamp != self._last_reading:
            self._last_reading = reading.stamp
            self._alignment.weight = config.scale_smoothing
            self._alignment.add(*samples(reading.points, depth, intrinsics,
                                         is_metric=self._is_metric), base or Scale())

    def _work_on(self, job: Job, header: Header, depth: np.ndarray, config: ScaleParameters,
                 intrinsics: Intrinsics | None) -> None:
        """Add a frame to a calibration, and end it when that was the last."""
        if intrinsics is None:
            job.reason = 'there is no camera_info, and metres need one; publish it'
            return
        try:
            self._gather(job, header, depth, config, intrinsics)
            if job.gathering(config.scale_frames).complete:
                self._finish(job, self._fitted(job, config), config, intrinsics)
        except RangeError as error:
            job.reason = str(error)     # perhaps the next frame has one
        except ScaleError as error:
            self._service.answer(job, False, str(error))

    def _gather(self, job: Job, header: Header, depth: np.ndarray, config: ScaleParameters,
                intrinsics: Intrinsics) -> None:
        gathering = job.gathering(config.scale_frames)
        if config.scale_wall_distance > 0.0:
            value, unevenness = wall_sample(depth, config.scale_wall_window,
                                            is_metric=self._is_metric)
            check_wall(unevenness)
            gathering.add(np.array(value), np.array(config.scale_wall_distance))
            return
        if self._range is None:
            raise ScaleError('there is nothing to compare with; set scale.wall_distance to the '
                             'distance of a wall, or range.source to a range sensor')
        points = self._range.reading(header, config).points
        gathering.add(*samples(points, depth, intrinsics, is_metric=self._is_metric))

    def _fitted(self, job: Job, config: ScaleParameters) -> ScaleFit:
        gathering = job.gathering(config.scale_frames)
        if config.scale_wall_distance > 0.0 or config.range_source == 'range':
            return self._walls.fit(*gathering.single(), is_metric=self._is_metric)
        return fit_scale(*gathering.arrays(), is_metric=self._is_metric)

    def _finish(self, job: Job, fit: ScaleFit, config: ScaleParameters,
                intrinsics: Intrinsics) -> None:
        source = 'wall' if config.scale_wall_distance > 0.0 else config.range_source
        self._calibration = Calibration(
            fit.scale, self._camera, self._spec.name, self._spec.weights_sha256,
            intrinsics.fx / intrinsics.width, source, fit.error)
        self._alignment = Alignment()
        self._faults.clear()
        try:
            scale_file.write(self._path, self._calibration)
        except ScaleFileError as error:
            self._faults['SCALE_NOT_SAVED'] = f'the scale is lost when the node ends: {error}'
            self._service.answer(job, False, f'{fit}; in use, but not saved: {error}')
            return
        unused = '' if config.scale_apply else '; not in use, as scale.apply is false'
        self._service.answer(job, True, f'{fit}; saved in {self._path}{unused}')
