"""``depth-perception stereo``: a video, pictures or a bag into stereo, by estimated depth."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
import contextlib
from dataclasses import dataclass, replace
import json
import math
from pathlib import Path
import time

import cv2
import numpy as np

from depth_perception import inference
from depth_perception.estimator import DepthEstimator
from depth_perception.folders import expanded
from depth_perception.geometry import Intrinsics
from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.sources import Frame, FrameSource, SourceError, Video, open_source
from depth_perception.stereo import FILLS
from depth_perception.stereo_formats import FORMATS, check_format
from depth_perception.stereo_plan import AUTO_CONVERGENCES, VIEWS, FlickerMeter, StereoSettings
from depth_perception.stereo_views import StereoViews
from depth_perception.tools.bag_frames import BagFrames, is_bag
from depth_perception.tools.picture_files import open_output

PICTURES_FPS = 10.0     # of a folder, which tells no rate
SMOOTHING = 0.8         # what is watched should not breathe; a robot's metres should not lag


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        'stereo', help='turn a video, pictures or a bag into stereo views')
    parser.add_argument('input', help='video, picture, folder of pictures, bag, or scene')
    parser.add_argument('-o', '--output', type=Path, required=True,
                        help='out.mp4, picture.png, or a folder for PNG files')
    parser.add_argument('--format', dest='format_name', default='side_by_side', metavar='NAME',
                        help=f'one of {", ".join(FORMATS)} (default: %(default)s)')
    parser.add_argument('--model', default=DEFAULT_MODEL, help='name or path (default: '
                        '%(default)s)')
    parser.add_argument('--backend', default='auto', choices=inference.BACKENDS)
    parser.add_argument('--hfov-deg', type=float, default=60.0, help='horizontal field of view '
                        'where the input does not tell it (default: %(default)s)')
    parser.add_argument('--topic', default='', help='pictures of a bag that has several')
    parser.add_argument('--codec', default='mp4v', help='four letters (default: %(default)s)')
    parser.add_argument('--fps', type=float, default=0.0, help='frames a second of the output; '
                        'left out: as the input')
    parser.add_argument('--frames', type=int, default=0, help='stop after so many')
    _add_settings(parser)
    parser.set_defaults(run=_run)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    own = StereoSettings()
    group = parser.add_argument_group('views')

    def add(flag: str, name: str, help_: str, default: object = None, **rules) -> None:
        default = getattr(own, name) if default is None else default
        group.add_argument(flag, dest=name, default=default, type=type(default),
                           help=f'{help_} (default: %(default)s)', **rules)

    add('--baseline', 'baseline_m', 'distance between the eyes, m')
    add('--convergence', 'convergence_m', 'distance in the plane of the screen, m')
    add('--auto-convergence', 'auto_convergence', 'what lies in the plane of the screen',
        'nearest', choices=AUTO_CONVERGENCES)
    add('--max-disparity', 'max_disparity_percent', 'comfort limit, %% of the width; 0: none', 3.0)
    add('--views', 'views', 'right: the picture is the left view; both: it lies between them',
        'both', choices=VIEWS)
    add('--fill', 'fill', 'what is shown in holes', choices=FILLS)
    add('--edge-dilation', 'edge_dilation_px', 'growth of near surfaces, px')
    add('--smoothing', 'smoothing', 'weight of the past against flicker, 0 to below 1', SMOOTHING)
    add('--near', 'near_m', 'white in rgbd, m')
    add('--far', 'far_m', 'black in rgbd, m')
    add('--view-count', 'view_count', 'views of quilt, tile and lenticular')
    add('--lens-pitch', 'lens_pitch_px', 'width of a lens, px')
    add('--lens-slope', 'lens_slope', 'px by which lenses lie further left a row')
    add('--lens-centre', 'lens_centre', 'place of the first pixel in its lens, 0..1')


def _run(input: str, output: Path, format_name: str, model: str, backend: str, hfov_deg: float,
         topic: str, codec: str, fps: float, frames: int, **settings) -> int:
    check_format(format_name)
    views = StereoViews(StereoSettings(**settings))
    with contextlib.closing(opened(input, topic)) as source:
        rate = fps or source.fps
        estimator = Estimator(model, backend, hfov_deg)
        report = convert(source, views, estimator, output, format_name, codec=codec, fps=rate,
                         limit=frames)
    for name, reason in source.frames.skipped.items():
        print(f'left out: {name}: {reason}')
    print(json.dumps(report, indent=2))
    return 0


@dataclass
class Opened:
    """Frames, their rate (1/s), and how many there are (0: unknown)."""

    frames: FrameSource
    fps: float
    count: int

    def close(self) -> None:
        """Close the files."""
        self.frames.close()


def opened(name: str, topic: str = '') -> Opened:
    """Open what is to be converted.

    Raises
    ------
    SourceError
        If it cannot be opened, or never ends.
    """
    path = expanded(name)
    if is_bag(path):
        bag = BagFrames(path, topic)
        return Opened(bag, bag.fps or PICTURES_FPS, bag.count)
    source = open_source(name)
    if source.live:
        source.close()
        raise SourceError(f'{name} is a camera, which has no end; record a video or a bag first')
    if not isinstance(source, Video):
        return Opened(source, PICTURES_FPS, 0)
    capture = cv2.VideoCapture(str(path))
    fps, count = capture.get(cv2.CAP_PROP_FPS), int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
    capture.release()
    return Opened(source, fps if 0.0 < fps < 1000.0 else PICTURES_FPS, max(0, count))


class Estimator:
    """Depth of frames: what the source knows itself, else by the model, loaded when needed."""

    def __init__(self, model: str, backend: str, hfov_deg: float) -> None:
        self._model, self._backend, self._hfov_deg = model, backend, hfov_deg
        self._estimator: DepthEstimator | None = None

    def __call__(self, frame: Frame) -> tuple[np.ndarray, Intrinsics]:
        """Metres (H, W) float32, and the camera."""
        height, width = frame.image.shape[:2]
        camera = frame.intrinsics or Intrinsics.from_hfov(width, height, self._hfov_deg)
        if frame.depth is not None:
            return frame.depth, camera
        if self._estimator is None:
            self._estimator = DepthEstimator(inference.load(self._model, backend=self._backend))
        if not self._estimator.is_metric:
            raise SourceError(f'model {self._model} gives relative depth without metres; '
                              'choose a metric one with --model')
        return self._estimator(frame.image, camera).depth, camera


def convert(source: Opened, views: StereoViews,
            depth_of: Callable[[Frame], tuple[np.ndarray, Intrinsics]], output: Path,
            format_name: str, *, codec: str, fps: float, limit: int = 0) -> dict[str, object]:
    """Convert all frames and return the report, which is also written beside the output.

    Raises
    ------
    ValueError
        SourceError, OutputError or StereoError, with the way out.
    """
    sink = open_output(output, codec=codec, fps=fps)
    # the same without smoothing, for the report
    plain = StereoViews(replace(views.settings, smoothing=0.0, fill='background'))
    before, after = FlickerMeter(), FlickerMeter()
    count, start = 0, time.perf_counter()
    total = min(source.count or math.inf, limit or math.inf)
    with contextlib.closing(sink), _progress(format_name, total) as advance:
        for frame in source.frames:
            depth, camera = depth_of(frame)
            views.update(frame.image, depth, camera)
            sink.write(views.picture(format_name))
            plain.update(frame.image, depth, camera)
            before.add(frame.image, plain.disparity)
            after.add(frame.image, views.disparity)
            count += 1
            advance()
            if count == limit:
                break
    if not count:
        raise SourceError('the input has no frames')
    report = {'format': format_name, 'frames': count, 'fps': fps,
              'frames_a_second': count / (time.perf_counter() - start),
              'last_baseline_m': views.plan.baseline_m,
              'last_convergence_m': _finite(views.plan.convergence_m),
              'flicker_px': {'frame by frame': _finite(before.px), 'as shown': _finite(after.px)}}
    if format_name in ('quilt', 'tile'):
        report['views'] = views.grid(format_name).metadata()
    where = output / 'stereo.json' if output.is_dir() else output.with_suffix('.json')
    where.write_text(json.dumps(report, indent=2) + '\n')
    return report


@contextlib.contextmanager
def _progress(name: str, total: float) -> Iterator[Callable[[], None]]:
    """A bar on the terminal; what it gives moves it on by one frame."""
    from rich.console import Console  # of the demo's requirements: no other command needs it
    from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total if math.isfinite(total) else None)
        yield lambda: bar.advance(task)


def _finite(value: float) -> float | None:
    """JSON has neither NaN nor infinity."""
    return value if math.isfinite(value) else None
