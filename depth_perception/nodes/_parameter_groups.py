"""Parameters that several nodes have; a node's own dataclass derives from those it needs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import inf

from depth_perception.cloud_filters import CloudFilterSettings
from depth_perception.colorize import COLORMAPS
from depth_perception.nodes._parameters import parameter, ros_name
from depth_perception.stereo import FILLS
from depth_perception.stereo_formats import FORMATS
from depth_perception.stereo_multiview import MAX_VIEWS
from depth_perception.stereo_plan import AUTO_CONVERGENCES, VIEWS, StereoSettings


@dataclass(frozen=True)
class InputParameters:
    """How frames come in."""

    process: str = parameter(
        'newest', 'newest: always the latest frame, for live use; every: no frame is left out, '
        'for replay', choices=('newest', 'every'), at_configure=True)
    queue_size: int = parameter(
        600, 'frames that may wait with `process: every`', limits=(1, 10000), at_configure=True)
    image_transport: str = parameter(
        'raw', 'raw, or compressed: jpeg or png on the topic of the image + /compressed',
        choices=('raw', 'compressed'), at_configure=True)
    rectify: str = parameter(
        'auto', 'auto: remove the distortion that camera_info tells of; never: the image is '
        'rectified already and P of camera_info holds for it', choices=('auto', 'never'))
    fallback_hfov_deg: float = parameter(
        0.0, 'horizontal field of view to assume where there is no calibrated camera_info; all '
        'metres are then a guess; 0: publish nothing metric without', unit='deg',
        limits=(0.0, 170.0))
    autostart: bool = parameter(
        True, 'configure and activate at start; false waits for `ros2 lifecycle set`',
        read_only=True)


@dataclass(frozen=True)
class RangeParameters:
    """Which depth counts."""

    min_depth: float = parameter(
        0.0, 'nearer depth is published as NaN', unit='m', limits=(0.0, 1000.0))
    max_depth: float = parameter(
        100.0, 'farther depth is published as NaN', unit='m', limits=(0.01, inf))

    def check_range(self) -> None:
        """Raise ValueError unless min_depth < max_depth."""
        in_order(self, 'min_depth', 'max_depth')


@dataclass(frozen=True)
class CloudParameters:
    """How the point cloud is made."""

    cloud_stride: int = parameter(
        1, 'every n-th pixel of every n-th row becomes a point', name='point_cloud.stride',
        limits=(1, 64))
    cloud_organized: bool = parameter(
        True, 'true: a point for each pixel, NaN where there is none; false: a plain list of the '
        'valid points', name='point_cloud.organized')
    cloud_voxel_size: float = parameter(
        0.0, 'edge of the cubes in which points are averaged; the cloud is then a plain list; '
        '0: no averaging', name='point_cloud.voxel_size', unit='m', limits=(0.0, 10.0))
    cloud_min_range: float = parameter(
        0.0, 'points nearer to the camera are left out', name='point_cloud.min_range', unit='m',
        limits=(0.0, 1000.0))
    cloud_max_range: float = parameter(
        inf, 'points farther from the camera are left out', name='point_cloud.max_range',
        unit='m', limits=(0.01, inf))
    cloud_min_height: float = parameter(
        -inf, 'lower points are left out; heights count from the ground, which lies '
        'camera_height below the camera', name='point_cloud.min_height', unit='m',
        limits=(-inf, inf))
    cloud_max_height: float = parameter(
        inf, 'higher points are left out', name='point_cloud.max_height', unit='m',
        limits=(-inf, inf))
    cloud_camera_height: float = parameter(
        0.0, 'of the camera above the ground; 0: heights count from the camera',
        name='point_cloud.camera_height', unit='m', limits=(-1000.0, 1000.0))
    cloud_camera_pitch_deg: float = parameter(
        0.0, 'of the camera on a level robot, as in its URDF; positive looks down',
        name='point_cloud.camera_pitch_deg', unit='deg', limits=(-90.0, 90.0))
    cloud_camera_roll_deg: float = parameter(
        0.0, 'of the camera on a level robot, as in its URDF; positive tilts to the right',
        name='point_cloud.camera_roll_deg', unit='deg', limits=(-180.0, 180.0))
    cloud_flying_pixel_filter: bool = parameter(
        False, 'drop points that hang in the air between a near and a far surface',
        name='point_cloud.flying_pixel_filter.enable')
    cloud_flying_pixel_step: float = parameter(
        0.05, 'a point flies when it lies this share of its depth behind a neighbour',
        name='point_cloud.flying_pixel_filter.relative_step', limits=(0.001, 1.0))
    cloud_sky_filter: bool = parameter(
        False, 'drop what looks like sky (bright, smooth, joined to the upper edge of the '
        'picture) and lies above the horizon; for outdoor use: white walls look like sky',
        name='point_cloud.sky_filter.enable')
    cloud_sky_min_depth: float = parameter(
        10.0, 'nearer points are never sky', name='point_cloud.sky_filter.min_depth', unit='m',
        limits=(0.0, 1000.0))
    cloud_outlier_filter: bool = parameter(
        False, 'drop small islands of points that nothing beside them joins',
        name='point_cloud.outlier_filter.enable')
    cloud_outlier_min_points: int = parameter(
        50, 'islands of fewer pixels are dropped', name='point_cloud.outlier_filter.min_points',
        limits=(2, 1000000))
    cloud_outlier_step: float = parameter(
        0.05, 'neighbours within this share of their depth are on one island',
        name='point_cloud.outlier_filter.relative_step', limits=(0.001, 1.0))

    cloud_min_confidence: float = parameter(
        0.0, 'points of which the model is less sure are dropped; of a model that does not say '
        'how sure it is all stay', name='point_cloud.min_confidence', limits=(0.0, 1.0))

    def check_cloud(self) -> None:
        """Raise ValueError unless both ranges are in order."""
        in_order(self, 'cloud_min_range', 'cloud_max_range')
        in_order(self, 'cloud_min_height', 'cloud_max_height')

    def cloud_filters(self) -> CloudFilterSettings:
        """Give the values to what filters."""
        return CloudFilterSettings(
            min_range=self.cloud_min_range, max_range=self.cloud_max_range,
            min_height=self.cloud_min_height, max_height=self.cloud_max_height,
            camera_height=self.cloud_camera_height,
            camera_pitch_deg=self.cloud_camera_pitch_deg,
            camera_roll_deg=self.cloud_camera_roll_deg,
            flying_pixel_step=self.cloud_flying_pixel_step
            if self.cloud_flying_pixel_filter else 0.0,
            sky_min_depth=self.cloud_sky_min_depth if self.cloud_sky_filter else inf,
            island_points=self.cloud_outlier_min_points if self.cloud_outlier_filter else 0,
            island_step=self.cloud_outlier_step, min_confidence=self.cloud_min_confidence)


@dataclass(frozen=True)
class StereoParameters:
    """How the second eye's view is made."""

    stereo_baseline: float = parameter(
        0.065, 'distance between the eyes', name='stereo.baseline', unit='m', limits=(0.001, 10.0))
    stereo_convergence: float = parameter(
        inf, 'distance without disparity, in the plane of the screen; .inf: parallel cameras',
        name='stereo.convergence', unit='m', limits=(0.01, inf))
    stereo_auto_convergence: str = parameter(
        'off', 'what lies in the plane of the screen; off: stereo.convergence; subject: the '
        'middle of the picture', name='stereo.auto_convergence', choices=AUTO_CONVERGENCES)
    stereo_max_disparity: float = parameter(
        0.0, 'comfort limit, in percent of the width, beyond which the baseline is shortened; '
        '0: none', name='stereo.max_disparity', unit='%', limits=(0.0, 100.0))
    stereo_views: str = parameter(
        'right', 'right: the picture is the left view and the right one is drawn; both: both '
        'are drawn, the picture lies between them', name='stereo.views', choices=VIEWS)
    stereo_fill: str = parameter(
        'background', 'what is shown where the picture shows nothing: the surface behind goes '
        'on; inpaint: its lines go on as well; temporal: what earlier frames saw there',
        name='stereo.fill', choices=FILLS)
    stereo_edge_dilation: int = parameter(
        1, 'by how much near surfaces grow, so that their edges do not stay behind; 0 for exact '
        'depth', name='stereo.edge_dilation', unit='px', limits=(0, 16))
    stereo_soft_edges: bool = parameter(
        True, 'mix the two pixels at an edge a little, as lenses do', name='stereo.soft_edges')
    stereo_smoothing: float = parameter(
        0.0, 'weight of the past in the scale of depth, and in what is chosen automatically, '
        'against flicker; a new scene starts anew; 0: none', name='stereo.smoothing',
        limits=(0.0, 0.99))
    stereo_format: str = parameter(
        'half_side_by_side', 'what ~/stereo/image shows', name='stereo.format', choices=FORMATS)
    stereo_near: float = parameter(
        0.3, 'depth that is white in ~/stereo/rgbd', name='stereo.near', unit='m',
        limits=(0.01, 1000.0))
    stereo_far: float = parameter(
        10.0, 'depth that is black in ~/stereo/rgbd', name='stereo.far', unit='m',
        limits=(0.01, 1000.0))

    views_count: int = parameter(
        8, 'views of ~/views/image and of the formats quilt, tile and lenticular, spread over '
        'the baseline', name='views.count', limits=(2, MAX_VIEWS))
    views_layout: str = parameter(
        'quilt', 'quilt: the leftmost view at the bottom left, going up; tile: at the top left, '
        'going down', name='views.layout', choices=('quilt', 'tile'))
    lenticular_pitch: float = parameter(
        5.0, 'width of a lens along a row of the screen', name='lenticular.pitch', unit='px',
        limits=(0.01, 10000.0))
    lenticular_slope: float = parameter(
        0.0, 'pixels by which the lenses lie further left in each row down',
        name='lenticular.slope', limits=(-100.0, 100.0))
    lenticular_centre: float = parameter(
        0.0, 'place of the top left pixel in its lens', name='lenticular.centre',
        limits=(0.0, 1.0))

    def check_stereo(self) -> None:
        """Raise ValueError unless stereo.near < stereo.far."""
        in_order(self, 'stereo_near', 'stereo_far')

    def stereo_settings(self) -> StereoSettings:
        """Give the values to what draws."""
        return StereoSettings(
            baseline_m=self.stereo_baseline, convergence_m=self.stereo_convergence,
            auto_convergence=self.stereo_auto_convergence,
            max_disparity_percent=self.stereo_max_disparity, views=self.stereo_views,
            fill=self.stereo_fill, edge_dilation_px=self.stereo_edge_dilation,
            soft_edges=self.stereo_soft_edges, smoothing=self.stereo_smoothing,
            near_m=self.stereo_near, far_m=self.stereo_far, view_count=self.views_count,
            lens_pitch_px=self.lenticular_pitch, lens_slope=self.lenticular_slope,
            lens_centre=self.lenticular_centre)


@dataclass(frozen=True)
class DepthImageParameters:
    """How depth is shown."""

    openni_depth_mode: bool = parameter(
        False, 'depth as 16UC1 millimetres, 0 invalid, instead of 32FC1 metres, NaN invalid')
    color_near: float = parameter(
        0.3, 'depth with the warmest colour of ~/depth/image_colored', name='color.near', unit='m',
        limits=(0.01, 1000.0))
    color_far: float = parameter(
        10.0, 'depth with the coldest colour', name='color.far', unit='m', limits=(0.01, 1000.0))
    color_map: str = parameter(
        'turbo', 'colours of ~/depth/image_colored', name='color.map', choices=tuple(COLORMAPS))

    def check_colors(self) -> None:
        """Raise ValueError unless color.near < color.far."""
        in_order(self, 'color_near', 'color_far')


def in_order(config: object, low: str, high: str) -> None:
    """
    Check two fields against each other.

    Raises
    ------
    ValueError
        Unless the first is below the second.

    """
    low_value, high_value = getattr(config, low), getattr(config, high)
    if not low_value < high_value:
        names = {item.name: ros_name(item) for item in fields(config)}
        low, high = names[low], names[high]
        raise ValueError(f'{low} is {low_value:g} and {high} is {high_value:g}; '
                         f'{low} must be below {high}')
