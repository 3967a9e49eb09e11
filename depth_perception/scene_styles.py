"""Styles of rooms: other stuff, light and furniture, for a robot that comes to another building.

Doors, windows and cameras are those of all rooms. The shipped model was trained on rooms without a
style and on bare ones; no test of it has a style.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from . import scene_furniture as furniture
from . import scene_storage as storage
from . import scene_textures as textures
from .scene_layout import AGAINST_WALLS, FREE_STANDING, Maker
from .scene_materials import RECIPES
from .scene_mesh import SceneError
from .scene_shapes import Material
from .scene_textures import colour

Recipe = tuple[int, Callable[..., Material]]


@dataclass(frozen=True)
class Style:
    """What rooms are made of.

    Attributes
    ----------
    recipes : name of a stuff -> how many kinds one room has, and how to make one.
    against_walls, free_standing : kind of room -> makers of its furniture.
    fill : least and most share of the walls that furniture stands at.
    crowd : how many times as many pieces stand free.
    litter : how many times as many small things lie on the floor.
    shapes : shares of corridors and of halls among the rooms.
    tints : RGB factors of all lights, one of them for a room; none: the lights stay as they are.
    ambient : factor of the light that comes from everywhere.
    """

    recipes: Mapping[str, Recipe] = field(default_factory=lambda: RECIPES)
    against_walls: Mapping[str, tuple[Maker, ...]] = field(default_factory=lambda: AGAINST_WALLS)
    free_standing: Mapping[str, tuple[Maker, ...]] = field(default_factory=lambda: FREE_STANDING)
    fill: tuple[float, float] = (0.25, 0.95)
    crowd: float = 1.0
    litter: float = 1.0
    shapes: tuple[float, float] = (0.12, 0.26)
    tints: tuple[tuple[float, float, float], ...] = ()
    ambient: float = 1.0

    def lit(self, rng, lights: list, ambient: np.ndarray) -> tuple[list, np.ndarray]:
        """Tint the lights of a room."""
        if not self.tints:
            return lights, ambient
        tint = np.array(self.tints[int(rng.integers(len(self.tints)))])
        tinted = [replace(light, colour=tuple(np.array(light.colour) * tint)) for light in lights]
        return tinted, ambient * tint * self.ambient


_PATTERN = 5  # the same pattern in all rooms, whatever its colours, as one supplier has it


def _bold(maker, tile_m: float, gloss: float = 0.0) -> Callable[..., Material]:
    """A recipe for a loud pattern of one size: the building has a module."""
    def make(rng) -> Material:
        base = colour(rng, (0.5, 1.0), (0.25, 0.9))
        return Material(maker(np.random.default_rng(_PATTERN), base), tile_m, gloss)
    return make


def _dark(rng) -> Material:
    base = colour(rng, (0.0, 0.6), (0.05, 0.3))
    return Material(textures.speckles(rng, base), rng.uniform(0.4, 1.5))


def _shiny(rng) -> Material:
    return Material(textures.brushed(rng, colour(rng, (0.3, 0.9), (0.2, 0.9))),
                    rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.9))


def _paint(saturation, value, gloss: float = 0.0) -> Callable[..., Material]:
    """A recipe for a surface of one colour, or one with clouds in it that are metres wide."""
    def make(rng) -> Material:
        base = colour(rng, saturation, value)
        if rng.random() < 0.3:
            return Material(textures.to_image(base).reshape(1, 1, 3), 1.0, rng.uniform(0, gloss))
        clouds = base + (textures.fractal(rng, 2.2) * rng.uniform(2, 22))[..., None]
        return Material(textures.to_image(clouds), rng.uniform(2, 8), rng.uniform(0, gloss))
    return make


_ARCADE_WALLS = (storage.cartons, storage.bin_, furniture.slope, furniture.column,
                 furniture.sofa, storage.appliance, furniture.stool)
_ARCADE_FREE = (furniture.column, furniture.slope, storage.cartons, furniture.column,
                furniture.person, furniture.stool, storage.bin_)

STYLES: dict[str, Style] = {
    '': Style(),
    # Loud patterns of one size on walls, floors, furniture and cloth, coloured lamps, columns and
    # ramps. Whoever knows the building's module can tell how far a tile is.
    'arcade': Style(
        recipes={**RECIPES,
                 'ceiling': (1, _dark),
                 'wall': (2, _bold(textures.tiles, 0.8)),
                 'floor': (1, _bold(textures.checker, 0.6)),
                 'wood': (4, _bold(textures.stripes, 0.6)),
                 'fabric': (5, _bold(textures.checker, 0.3)),
                 'carton': (3, _bold(textures.dots, 0.4)),
                 'plastic': (8, _bold(textures.camouflage, 0.4, gloss=0.3)),
                 'metal': (3, _shiny)},
        against_walls=dict.fromkeys(AGAINST_WALLS, _ARCADE_WALLS),
        free_standing=dict.fromkeys(FREE_STANDING, _ARCADE_FREE),
        fill=(0.4, 0.95), crowd=1.6,
        tints=((1.3, 0.8, 0.9), (0.7, 0.95, 1.3), (1.25, 1.05, 0.65), (0.8, 1.25, 0.8)),
        ambient=0.8),
    # Corridors, halls and empty rooms, painted: what a robot in a hospital or a new building sees.
    'bare': Style(
        recipes={**RECIPES,
                 'wall': (2, _paint((0, 0.35), (0.35, 1))),
                 'floor': (1, _paint((0, 0.7), (0.1, 0.95), gloss=0.5)),
                 'ceiling': (1, _paint((0, 0.1), (0.6, 1)))},
        fill=(0.0, 0.15), crowd=0.15, litter=0.15, shapes=(0.4, 0.3)),
}


def find_style(name: str) -> Style:
    """Return a style by name; SceneError where there is none."""
    if name not in STYLES:
        raise SceneError(f'there is no style {name!r}; there are '
                         f'{", ".join(repr(each) for each in STYLES)}')
    return STYLES[name]
