"""Where converted pictures go: a video, a folder of pictures, or one picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

VIDEO_SUFFIXES = ('.mp4', '.mov', '.mkv', '.avi')
PICTURE_SUFFIXES = ('.png', '.jpg', '.jpeg', '.webp')


class OutputError(ValueError):
    """Pictures cannot be written; the message gives the way out."""


class VideoFile:
    """A video; an odd last row or column is doubled, as codecs take even sizes only."""

    def __init__(self, path: Path, codec: str, fps: float) -> None:
        if len(codec) != 4 or not codec.isascii():
            raise OutputError(f'codec is {codec!r}; it must be four letters such as mp4v or avc1')
        self._path, self._codec, self._fps = path, codec, fps
        self._writer: cv2.VideoWriter | None = None
        self._size = (0, 0)

    def write(self, picture: np.ndarray) -> None:
        """Add a frame, (H, W, 3) uint8 RGB."""
        height, width = picture.shape[:2]
        if self._writer is None:
            self._open(width, height)
        elif self._size != (width, height):
            raise OutputError(
                f'the frame is {width}x{height} and the video {self._size[0]}x{self._size[1]}; '
                'make all frames of one size, or give a folder as output')
        even = cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        self._writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR))

    def close(self) -> None:
        """Finish the file."""
        if self._writer is not None:
            self._writer.release()

    def _open(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._writer = cv2.VideoWriter(
            str(self._path), cv2.VideoWriter_fourcc(*self._codec), self._fps,
            (width + width % 2, height + height % 2))
        if not self._writer.isOpened():
            self._path.unlink(missing_ok=True)
            raise OutputError(
                f'the codec {self._codec} cannot be written into {self._path} on this machine; '
                'try --codec mp4v or --codec MJPG, or give a folder as output for PNG files')


class PictureFolder:
    """000000.png, 000001.png, … in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._count = folder, 0

    def write(self, picture: np.ndarray) -> None:
        """Add a file, (H, W, 3) uint8 RGB."""
        _write(self._folder / f'{self._count:06d}.png', picture)
        self._count += 1

    def close(self) -> None:
        """Nothing is left to do."""


class PictureFile:
    """One picture."""

    def __init__(self, path: Path) -> None:
        self._path, self._written = path, False

    def write(self, picture: np.ndarray) -> None:
        """Write it, (H, W, 3) uint8 RGB."""
        if self._written:
            raise OutputError(f'there are several frames for the one picture {self._path}; '
                              'give a video such as out.mp4, or a folder')
        _write(self._path, picture)
        self._written = True

    def close(self) -> None:
        """Nothing is left to do."""


def _write(path: Path, picture: np.ndarray) -> None:
    if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
        raise OutputError(f'{path} cannot be written; is the disk full, or write-protected?')


def open_output(path: Path, *, codec: str = 'mp4v', fps: float = 25.0,
                ) -> VideoFile | PictureFolder | PictureFile:
    """What the name of the output asks for: its suffix decides, a folder has none.

    Raises
    ------
    OutputError
        If the suffix is unknown, or the folder around it does not exist.
    """
    suffix = path.suffix.lower()
    if suffix and not path.parent.is_dir():
        raise OutputError(f'there is no folder {path.parent}; create it first')
    if suffix in VIDEO_SUFFIXES:
        return VideoFile(path, codec, fps)
    if suffix in PICTURE_SUFFIXES:
        return PictureFile(path)
    if suffix:
        raise OutputError(f'output is {path.name}; its suffix must be one of '
                          f'{", ".join((*VIDEO_SUFFIXES, *PICTURE_SUFFIXES))}, or none for a '
                          'folder of PNG files')
    return PictureFolder(path)
