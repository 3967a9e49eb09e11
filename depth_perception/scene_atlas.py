"""All textures of a scene in one picture, with mip levels, so that one `cv2.remap` reads them."""
from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

BORDER = 2          # repeated texels around each tile: bilinear lookup never sees its neighbour
_WIDTH = 8192       # cv2.remap takes pictures up to 32767 a side


class Tile(NamedTuple):
    """Where a texture lies; level k starts at (x + 2w(1 - 2**-k) + 2k*BORDER, y), w >> k wide."""

    x: int
    y: int
    width: int
    height: int
    levels: int


def _power_of_two(size: int, limit: int) -> int:
    return int(min(2 ** round(np.log2(size)), limit))


def _tile_sizes(textures, max_size: int, max_texels: float) -> list[tuple[int, int]]:
    """Power-of-two (width, height) of each texture, halved until all fit in the memory allowed."""
    limit = max_size
    while True:
        sizes = [(_power_of_two(t.shape[1], limit), _power_of_two(t.shape[0], limit))
                 for t in textures]
        if limit <= 16 or 2 * sum(w * h for w, h in sizes) <= max_texels:
            return sizes
        limit //= 2


def _levels(width: int, height: int) -> int:
    return int(np.log2(min(width, height)))


def _strip_width(width: int, levels: int) -> int:
    return sum((width >> k) + 2 * BORDER for k in range(levels + 1))


def _place(sizes) -> tuple[list[Tile], int, int]:
    """Shelf packing, tallest first: tiles in the order given, atlas width and height."""
    tiles: list[Tile | None] = [None] * len(sizes)
    x = y = shelf = right = 0
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i][1], -sizes[i][0], i)):
        width, height = sizes[index]
        levels = _levels(width, height)
        strip = _strip_width(width, levels)
        if x + strip > _WIDTH:
            x, y, shelf = 0, y + shelf, 0
        tiles[index] = Tile(x + BORDER, y + BORDER, width, height, levels)
        x, shelf = x + strip, max(shelf, height + 2 * BORDER)
        right = max(right, x)
    return tiles, right, y + shelf


class TextureAtlas:
    """Packs textures; `image` is (H, W, 3) uint8 RGB, `tiles` one Tile for each texture.

    Textures are resized to the nearest powers of two up to `max_size`, and smaller still where
    all of them together would pass `max_texels`.
    """

    def __init__(self, textures, *, max_size: int = 1024, max_texels: float = 96e6):
        sizes = _tile_sizes(textures, max_size, max_texels)
        self.tiles, width, height = _place(sizes)
        self.image = np.zeros((height, width, 3), np.uint8)
        for texture, tile in zip(textures, self.tiles):
            self._write(texture, tile)

    def _write(self, texture: np.ndarray, tile: Tile) -> None:
        level_image = np.ascontiguousarray(texture)
        x = tile.x - BORDER
        for level in range(tile.levels + 1):
            size = (tile.width >> level, tile.height >> level)
            if level_image.shape[1::-1] != size:
                level_image = cv2.resize(level_image, size, interpolation=cv2.INTER_AREA)
            level_image = level_image.reshape(size[1], size[0], 3)
            padded = np.pad(level_image, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), 'wrap')
            y = tile.y - BORDER
            self.image[y:y + padded.shape[0], x:x + padded.shape[1]] = padded
            x += padded.shape[1]
