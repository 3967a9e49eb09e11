"""Reading one picture or one depth map from a file; anything wrong with it is UnreadableFile."""
from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile
import zlib

import cv2
import numpy as np

from training.data.root import DataError, UnreadableFile

IMAGE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.bmp', '.ppm')
DEPTH_SUFFIXES = ('.png', '.npz', '.npy', '.exr', '.tif', '.tiff')
# OpenCV fills what is cut off with grey and says nothing, so the end is looked at first.
END_MARKS = {'.png': b'IEND', '.jpg': b'\xff\xd9', '.jpeg': b'\xff\xd9'}
END_BYTES = 64  # some writers pad the file a little
# What renderers call depth in EXR files, best first; 'R' where depth was saved as a grey picture.
EXR_CHANNELS = ('Z', 'depth', 'Y', 'V', 'R')


def read_image(path: Path) -> np.ndarray:
    """Return the picture, (H, W, 3) uint8 RGB, as it is stored: EXIF does not turn it.

    Raises
    ------
    UnreadableFile
        The file is missing, cut off or no picture.
    """
    # Depth has no EXIF: a turned picture would no longer lie over it.
    array = _decoded(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.cvtColor(array, cv2.COLOR_BGR2RGB)


def read_depth(path: Path, scale: float) -> np.ndarray:
    """Return a depth map, (H, W) float32 = stored value * scale; 0 or not finite: missing.

    PNG and TIFF hold one channel of any type, NPY one array, NPZ one array or one named
    ``depth``, EXR one channel or one named Z, depth, Y, V or R.

    Raises
    ------
    UnreadableFile
        The file is missing, cut off, of another kind or of another shape.
    """
    suffix = path.suffix.lower()
    if suffix in ('.npy', '.npz'):
        stored = _numpy(path)
    elif suffix == '.exr':
        stored = _exr(path)
    else:
        stored = _decoded(path, cv2.IMREAD_UNCHANGED)
    if stored.ndim == 3 and 1 in (stored.shape[0], stored.shape[2]):
        stored = stored.reshape([n for n in stored.shape if n != 1])
    if stored.ndim != 2 or stored.dtype.kind not in 'uif':
        raise UnreadableFile(f'{path} holds {stored.dtype} of shape {stored.shape}; '
                             'depth is one number a pixel, (H, W)')
    return stored.astype(np.float32) * np.float32(scale)


def _decoded(path: Path, flags: int) -> np.ndarray:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UnreadableFile(f'{path} cannot be read: {error.strerror}') from error
    if not data or END_MARKS.get(path.suffix.lower(), b'') not in data[-END_BYTES:]:
        raise UnreadableFile(f'{path} is cut off or no {path.suffix[1:]} file; copy it again')
    array = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if array is None:
        raise UnreadableFile(f'{path} is damaged or no {path.suffix[1:]} file; copy it again')
    return array


def _numpy(path: Path) -> np.ndarray:
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            keys = loaded.files
            if len(keys) == 1 or 'depth' in keys:
                return loaded['depth' if 'depth' in keys else keys[0]]
    # A cut-off archive raises BadZipFile or EOFError, a cut-off array ValueError.
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error) as error:
        raise UnreadableFile(f'{path} is damaged or no NumPy file: {error}') from error
    raise UnreadableFile(f'{path} holds {", ".join(keys)}; give it one array, or one named depth')


def _exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR  # OpenCV's wheels are built without it
    except ImportError as error:
        raise DataError(f'{path} needs the package OpenEXR; pip install OpenEXR') from error
    try:
        with OpenEXR.File(str(path), separate_channels=True) as file:
            channels = {name: channel.pixels for name, channel in file.channels().items()}
    except (RuntimeError, ValueError) as error:
        raise UnreadableFile(f'{path} is damaged or no EXR file: {error}') from error
    if len(channels) == 1:
        return next(iter(channels.values()))
    # Layers put their name in front: 'View Layer.Depth.Z'.
    last = {name.rsplit('.', 1)[-1]: name for name in channels}
    found = next((last[name] for name in EXR_CHANNELS if name in last), None)
    if found is None:
        raise UnreadableFile(f'{path} has the channels {", ".join(channels)}; depth is looked for '
                             f'in {", ".join(EXR_CHANNELS)}')
    return channels[found]
