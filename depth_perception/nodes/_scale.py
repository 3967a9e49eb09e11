"""The scale of a camera's depth: found by a service, kept in a file, applied to each frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
import math
from pathlib import Path

import numpy as np
from rclpy.node import Node
from std_msgs.msg import Header

from depth_perception import scale_file
from depth_perception.geometry import Intrinsics
from depth_perception.model_contract import ModelSpec
from depth_perception.nodes._diagnostics import Finding, Health, Level
from depth_perception.nodes._parameters import parameter
from depth_perception.nodes._range import RangeError, RangeSourceParameters
from depth_perception.nodes._range_follower import RangeFollower
from depth_perception.nodes._scale_job import Job, ScaleService
from depth_perception.range_points import samples, wall_sample
from depth_perception.scale import Scale, ScaleError, ScaleFit, fit_scale
from depth_perception.scale_apply import Rescaler
from depth_perception.scale_file import Calibration, ScaleFileError, same_lens
from depth_perception.scale_session import Gathering, Walls, check_wall


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

    Attributes
    ----------
    origin : tuple
        What the metres of the last frame came from; where it changes, depth jumps.
    fits : bool
        False: the last frame was seen by another lens than that of the scale to apply.

    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._service = ScaleService(node)
        self._rescaler, self._follower = Rescaler(), RangeFollower(node)
        self._job: Job | None = None        # of the frame in work
        self.origin: tuple[object, ...] = ()
        self._forget()

    def _forget(self) -> None:
        self._walls, self._lens = Walls(), math.inf     # what it was seen by, fx / width
        self._spec: ModelSpec | None = None
        self._calibration: Calibration | None = None
        self._path: Path | None = None      # none: there is no place for it
        self.fits = True
        self._faults: dict[str, str] = {}       # of each code, what is wrong

    def activate(self, config: ScaleParameters, spec: ModelSpec, health: Health) -> None:
        """Read the scale of this camera and model, and subscribe to the range source."""
        self._load(config, spec)
        self._follower.open(config, health)
        self._service.open()

    def deactivate(self) -> None:
        """Unsubscribe; it may be so already."""
        self._service.shut('the node was deactivated meanwhile; activate it and call again')
        self._follower.close()

    def clean_up(self) -> None:
        """Forget the scale; its file stays."""
        self._forget()

    @property
    def has_scale(self) -> bool:
        """Whether there is a scale to apply."""
        return (self._calibration is not None and self.fits
                and self._node.get_parameter('scale.apply').value)

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
            self._service.abandon('the model was changed meanwhile; call again')
            self._load(config, spec)
        self._job = self._service.job
        found = self._calibration if config.scale_apply else None
        self.fits = found is None or intrinsics is None or found.fits_lens(intrinsics)
        base = found.scale if found is not None and self.fits else None
        self._follower.stand_on(base)
        self.origin = spec, base, config.scale_continuous and self._follower.known
        if spec.output_kind == 'relative' and (base is None or intrinsics is None):
            return None
        if config.scale_continuous:
            return self._follower.scale
        if base is None and (self._job is not None or self._follower.input is not None):
            return Scale()      # of itself: what is compared must not lack what lies out of limits
        return base

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
        if self._job is not None:
            self._work_on(self._job, header, depth, config, intrinsics)
        if intrinsics is not None:
            self._follower.look(header, depth, config, intrinsics, is_metric=self._is_metric)

    def correct(self, depth: np.ndarray, scale: Scale, config: object,
                out: np.ndarray) -> np.ndarray:
        """Write metres into ``out``; ``depth`` itself is one of a metric model."""
        if self._is_metric:
            return self._rescaler.metric(out, scale, config.min_depth, config.max_depth)
        return self._rescaler.relative(depth, scale, config.min_depth, config.max_depth, out)

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the scale or with the range source."""
        yield from (Finding(Level.WARN, text, code) for code, text in list(self._faults.items()))
        yield from self._follower.findings()
        if not self.fits:
            yield Finding(Level.WARN, (
                f'the scale in {self._path} was made with another field of view and is not '
                'used; calibrate again'), 'SCALE_OF_ANOTHER_LENS')
        if self.is_calibrating:
            yield Finding(Level.OK, 'calibrating the scale', 'CALIBRATING')

    def values(self) -> dict[str, object]:
        """Give the scale and its drift."""
        found = self._calibration
        told = 'none' if found is None else (
            f'{found.scale.scale:.5g} {found.scale.shift:+.5g} 1/m ({found.source})')
        return {'scale': told, **self._follower.values()}

    @property
    def _is_metric(self) -> bool:
        return self._spec is not None and self._spec.output_kind != 'relative'

    @property
    def _camera(self) -> str:
        return self._node.resolve_topic_name('image')

    def _load(self, config: ScaleParameters, spec: ModelSpec) -> None:
        self._forget()
        self._spec = spec
        self._follower.forget()
        try:
            self._path = self._where(config)
            self._calibration = scale_file.read(self._path, self._camera, spec.name,
                                                spec.weights_sha256)
        except ScaleFileError as error:
            self._faults['SCALE_FILE_UNUSABLE'] = str(error)
            self._node.get_logger().warning(str(error))

    def _where(self, config: ScaleParameters) -> Path:
        return scale_file.path_of(config.scale_file, self._camera, self._spec.name)

    def _work_on(self, job: Job, header: Header, depth: np.ndarray, config: ScaleParameters,
                 intrinsics: Intrinsics | None) -> None:
        """Add a frame to a calibration, and end it when that was the last."""
        if intrinsics is None:
            job.reason = 'there is no camera_info, and metres need one; publish it'
            return
        lens = intrinsics.fx / intrinsics.width
        try:
            config = job.begin(config, lens)
            self._gather(job.gathering, header, depth, config, intrinsics)
        except RangeError as error:
            job.reason = str(error)     # perhaps the next frame has one
        except ScaleError as error:
            self._service.answer(job, False, str(error))
        else:
            if job.gathering.complete and self._service.claim(job):
                job.end(*self._conclude(job.gathering, config, lens))

    def _gather(self, gathering: Gathering, header: Header, depth: np.ndarray,
                config: ScaleParameters, intrinsics: Intrinsics) -> None:
        if config.scale_wall_distance > 0.0:
            value, unevenness = wall_sample(depth, config.scale_wall_window,
                                            is_metric=self._is_metric)
            check_wall(unevenness)
            gathering.add(np.array(value), np.array(config.scale_wall_distance))
            return
        if self._follower.input is None:
            raise ScaleError('there is nothing to compare with; set scale.wall_distance to the '
                             'distance of a wall, or range.source to a range sensor')
        points = self._follower.input.reading(header, config).points
        gathering.add(*samples(points, depth, intrinsics, is_metric=self._is_metric))

    def _fitted(self, gathering: Gathering, config: ScaleParameters, lens: float) -> ScaleFit:
        if not same_lens(lens, self._lens):     # distances seen by another one do not go with it
            self._walls, self._lens = Walls(), lens
        if config.scale_wall_distance > 0.0 or config.range_source == 'range':
            return self._walls.fit(*gathering.single(), is_metric=self._is_metric)
        return fit_scale(*gathering.arrays(), is_metric=self._is_metric)

    def _conclude(self, gathering: Gathering, config: ScaleParameters,
                  lens: float) -> tuple[bool, str]:
        """Use and keep what was gathered; return the answer of the call."""
        try:
            fit = self._fitted(gathering, config, lens)
        except ScaleError as error:
            return False, str(error)
        source = 'wall' if config.scale_wall_distance > 0.0 else config.range_source
        self._calibration = Calibration(
            fit.scale, self._camera, self._spec.name, self._spec.weights_sha256,
            lens, source, fit.error)
        self._faults.clear()
        try:
            self._path = self._path or self._where(config)
            scale_file.write(self._path, self._calibration)
        except ScaleFileError as error:
            self._faults['SCALE_NOT_SAVED'] = (
                f'the scale is lost when the node is deactivated or ends: {error}')
            return False, f'{fit}; in use, but not saved: {error}'
        unused = '' if config.scale_apply else '; not in use, as scale.apply is false'
        return True, f'{fit}; saved in {self._path}{unused}'
