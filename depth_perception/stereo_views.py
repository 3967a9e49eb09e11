"""Image and depth in, stereo views out, frame after frame: what nodes and tools share."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from depth_perception.geometry import Intrinsics
from depth_perception.stereo import StereoRenderer
from depth_perception.stereo_disparity import StereoError, disparity_from_depth
from depth_perception.stereo_formats import PAIR_FORMATS, check_format, rgbd
from depth_perception.stereo_history import History
from depth_perception.stereo_multiview import Grid, arranged, grid_for, lenticular
from depth_perception.stereo_plan import Plan, Planner, StereoSettings


class Pair(NamedTuple):
    """Both eyes' views; `left_holes` and `right_holes` are (H, W) bool."""

    left: np.ndarray
    right: np.ndarray
    left_holes: np.ndarray
    right_holes: np.ndarray


class StereoViews:
    """Draws what is asked for of the newest frame, each at most once; reuses its buffers.

    Attributes
    ----------
    settings : StereoSettings
        May be replaced before each `update`.
    plan : Plan
        Baseline and convergence of the newest frame.
    """

    def __init__(self, settings: StereoSettings | None = None) -> None:
        self.settings = settings or StereoSettings()
        self._planner = Planner()
        self._history = History()
        # The first renderer compiles or loads the warp, which takes seconds: now, and not when
        # somebody opens a viewer and the depth of a moving robot would stand still.
        self._renderer = StereoRenderer(2, 1)
        self._disparity = np.empty((0, 0), np.float32)
        self._has_disparity = False
        self._pair: Pair | None = None

    def update(self, image: np.ndarray, depth: np.ndarray, camera: Intrinsics) -> None:
        """Take the next frame.

        Parameters
        ----------
        image : (H, W, 3) uint8 RGB
        depth : (H, W) float32, metres; NaN, 0 and less are unknown
        camera : Intrinsics of both

        Raises
        ------
        StereoError
            If depth has another size than the image, or the image is narrower than two pixels.
        """
        if depth.shape != image.shape[:2]:
            raise StereoError(
                f'depth has {depth.shape[1]}x{depth.shape[0]} pixels, the image '
                f'{image.shape[1]}x{image.shape[0]}; resize one to the other')
        if self._disparity.shape != depth.shape:
            self._renderer = StereoRenderer(depth.shape[1], depth.shape[0])
            self._disparity = np.empty(depth.shape, np.float32)
        self._image, self._depth, self._camera = image, depth, camera
        self.plan = self._planner.plan(image, depth, camera.fx, self.settings)
        self._prepare(self.plan)
        self._has_disparity, self._pair = False, None

    @property
    def disparity(self) -> np.ndarray:
        """Of the newest frame between both eyes, (H, W) float32 pixels; NaN where unknown."""
        if not self._has_disparity:
            plan, out = self.plan, self._disparity
            disparity_from_depth(self._depth, self._camera.fx, plan.baseline_m,
                                 plan.convergence_m, out=out)
            if math.isfinite(plan.limit_px):
                np.clip(out, -plan.limit_px, plan.limit_px, out=out)
            self._has_disparity = True
        return self._disparity

    def forget(self) -> None:
        """Begin anew: what comes next has nothing to do with what was."""
        self._planner.forget()
        self._history.forget()

    def pair(self) -> Pair:
        """Both views of the newest frame; valid until the next `update` or `many`."""
        if self._pair is None:
            if self.settings.views == 'both':
                self._pair = Pair(*self._renderer.views(self._image, self.disparity))
            else:
                right, holes = self._renderer.right_from_left(self._image, self.disparity)
                self._pair = Pair(self._image, right, np.zeros_like(holes), holes)
        return self._pair

    def many(self) -> np.ndarray:
        """`settings.view_count` views from the left eye to the right one, (N, H, W, 3) uint8."""
        count = self.settings.view_count
        views = np.empty((count, *self._image.shape), np.uint8)
        for index, view in enumerate(views):
            share = index / (count - 1) - 0.5
            view[:] = self._renderer.view_at(self._image, self.disparity, share)[0]
        self._pair = None       # its arrays are the renderer's
        return views

    def grid(self, layout: str) -> Grid:
        """How a 'quilt' or 'tile' of the newest frame is laid out."""
        height, width = self._image.shape[:2]
        return grid_for(self.settings.view_count, width, height, layout)

    def picture(self, name: str) -> np.ndarray:
        """The newest frame in one of stereo_formats.FORMATS, RGB.

        Raises
        ------
        StereoError
            If the format does not exist.
        """
        check_format(name)
        if name in PAIR_FORMATS:
            pair = self.pair()
            return PAIR_FORMATS[name](pair.left, pair.right)
        settings = self.settings
        if name == 'rgbd':
            return rgbd(self._image, self._depth, settings.near_m, settings.far_m)
        if name == 'lenticular':
            return lenticular(self.many(), settings.lens_pitch_px, settings.lens_slope,
                              settings.lens_centre)
        return arranged(self.many(), self.grid(name))

    def _prepare(self, plan: Plan) -> None:
        renderer, settings = self._renderer, self.settings
        renderer.fill, renderer.soft_edges = settings.fill, settings.soft_edges
        renderer.edge_dilation_px = settings.edge_dilation_px
        if settings.fill != 'temporal':
            renderer.look_up = None
            return
        if plan.cut:
            self._history.forget()
        self._history.add(self._image, self._depth, self._camera)
        scale = self._camera.fx * plan.baseline_m

        def look_up(x: np.ndarray, y: np.ndarray, disparity: np.ndarray):
            inverse = disparity / scale + 1.0 / plan.convergence_m
            with np.errstate(divide='ignore'):
                depth = np.where(inverse > 0.0, 1.0 / inverse, np.nan)
            return self._history.look_up(x, y, depth)

        renderer.look_up = look_up
