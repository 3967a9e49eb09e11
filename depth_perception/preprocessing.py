"""Camera image -> network input: resized with its aspect kept, letterboxed, normalised."""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
import numpy as np

from depth_perception.model_contract import CHANNEL_ORDERS, ModelSpec


class ImageError(ValueError):
    """An image, or a buffer for one, of the wrong shape, size or type."""


@dataclass(frozen=True)
class Placement:
    """Where the image lies in the network input, all in pixels.

    The resized image occupies ``[y:y + height, x:x + width]`` of the network input
    (`input_height`, `input_width`); around it its edge is replicated.
    `image_height` and `image_width` are the camera image's.
    """

    input_height: int
    input_width: int
    x: int
    y: int
    width: int
    height: int
    image_height: int
    image_width: int

    @property
    def region(self) -> tuple[slice, slice]:
        """Rows and columns of the image in the network input."""
        return (slice(self.y, self.y + self.height), slice(self.x, self.x + self.width))


def place(image_height: int, image_width: int, spec: ModelSpec) -> Placement:
    """Choose how an image of this size goes into the network.

    The aspect is always kept. Where the model takes any multiple of `spec.size_multiple`, the
    network input gets the image's aspect and about the nominal area.

    Raises
    ------
    ImageError
        If a size is below 1.
    """
    if image_height < 1 or image_width < 1:
        raise ImageError(f'image is {image_width}x{image_height}; both must be at least 1 pixel')
    input_height, input_width = _input_size(image_height, image_width, spec)
    scale = min(input_height / image_height, input_width / image_width)
    height = min(input_height, max(1, round(image_height * scale)))
    width = min(input_width, max(1, round(image_width * scale)))
    return Placement(input_height, input_width, (input_width - width) // 2,
                     (input_height - height) // 2, width, height, image_height, image_width)


def _input_size(image_height: int, image_width: int, spec: ModelSpec) -> tuple[int, int]:
    """Height and width of the network input."""
    multiple = spec.size_multiple
    if not multiple:
        return spec.input_height, spec.input_width
    scale = math.sqrt(spec.input_height * spec.input_width / (image_height * image_width))
    height, width = (max(1, round(size * scale / multiple)) * multiple
                     for size in (image_height, image_width))
    return height, width


class Preprocessor:
    """Turns images of one size into the network's input tensor, without allocating.

    Parameters
    ----------
    spec : ModelSpec
        Gives the normalisation and the channel order of the input.
    placement : Placement
        From `place`.
    tensor : (1, 3, h, w) float32 array, optional
        Where to write, a part of a stack for instance; else an own buffer.
    """

    def __init__(self, spec: ModelSpec, placement: Placement,
                 tensor: np.ndarray | None = None) -> None:
        self._placement = placement
        self._channel_order = spec.channel_order
        # (x / 255 - mean) / std as one multiply and one add for each channel
        self._gains = [1.0 / (255.0 * std) for std in spec.std]
        self._offsets = [-mean / std for mean, std in zip(spec.mean, spec.std)]
        p = placement
        self._steps = [np.empty((height, width, 3), np.uint8) for height, width in resize_steps(p)]
        self._planes = [np.empty((p.height, p.width), np.uint8) for _ in range(3)]
        shape = (1, 3, p.input_height, p.input_width)  # NCHW
        self._tensor = np.zeros(shape, np.float32) if tensor is None else tensor
        self._regions = [plane[p.region] for plane in self._tensor[0]]

    def __call__(self, image: np.ndarray, channel_order: str = 'rgb') -> np.ndarray:
        """Fill the network input.

        Parameters
        ----------
        image : (H, W, 3) uint8 array
            Of the size in the placement; rows may be padded.
        channel_order : str
            ``rgb`` or ``bgr``, of `image`.

        Returns
        -------
        (1, 3, h, w) float32 array
            The preprocessor's buffer: the next call overwrites it.

        Raises
        ------
        ImageError
            If the image has another size, shape or type, or the channel order is unknown.
        """
        self._check(image, channel_order)
        for step in self._steps:
            image = cv2.resize(image, step.shape[1::-1], dst=step, interpolation=cv2.INTER_LINEAR)
        cv2.split(image, self._planes)  # HWC -> C planes of HW
        planes = self._planes if channel_order == self._channel_order else self._planes[::-1]
        for plane, region, gain, offset in zip(planes, self._regions, self._gains, self._offsets):
            # One pass that converts, scales and shifts; the second weight is 0.
            cv2.addWeighted(plane, gain, plane, 0.0, offset, dst=region, dtype=cv2.CV_32F)
        self._replicate_edges()
        return self._tensor

    def _check(self, image: np.ndarray, channel_order: str) -> None:
        expected = (self._placement.image_height, self._placement.image_width, 3)
        if image.shape != expected or image.dtype != np.uint8:
            raise ImageError(f'image has shape {image.shape} and type {image.dtype}; '
                             f'it must be {expected} and uint8')
        if channel_order not in CHANNEL_ORDERS:
            raise ImageError(f'channel order is {channel_order!r}; '
                             f'it must be one of {", ".join(CHANNEL_ORDERS)}')

    def _replicate_edges(self) -> None:
        rows, columns = self._placement.region
        tensor = self._tensor  # NCHW; rows first, so that the columns fill the corners
        tensor[:, :, :rows.start, columns] = tensor[:, :, rows.start, None, columns]
        tensor[:, :, rows.stop:, columns] = tensor[:, :, rows.stop - 1, None, columns]
        tensor[..., :columns.start] = tensor[..., columns.start, None]
        tensor[..., columns.stop:] = tensor[..., columns.stop - 1, None]


def resize_steps(placement: Placement) -> list[tuple[int, int]]:
    """Sizes (height, width) through which an image is resized, the last one the placement's.

    Training resizes with INTER_AREA, so here each pixel has to count as well. INTER_AREA itself
    is fast only for whole factors (720p to 368x207: 3.4 ms against 0.3 ms this way); halving by
    INTER_LINEAR is its 2x2 mean (VGA to 320x240 gives equal pixels), and below a factor of 2
    INTER_LINEAR skips no pixel. On texture at 720p and 1080p this differs from INTER_AREA a third
    to a half as much as INTER_LINEAR alone does.
    """
    target = (placement.height, placement.width)
    height, width = placement.image_height, placement.image_width
    sizes = []
    while height >= 2 * target[0] and width >= 2 * target[1]:
        height, width = max(target[0], height // 2), max(target[1], width // 2)
        sizes.append((height, width))
    return sizes if sizes and sizes[-1] == target else [*sizes, target]
