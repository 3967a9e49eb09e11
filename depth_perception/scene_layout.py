"""Where things stand in a room: along the walls, in the middle, on the floor, without overlap."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from . import scene_fixtures as fixtures
from . import scene_furniture as furniture
from . import scene_storage as storage
from .scene_clutter import clutter, small_thing
from .scene_materials import Palette
from .scene_mesh import Mesh, bounds
from .scene_shapes import placed

Maker = Callable[[np.random.Generator, Palette], list]

# Furniture with its back to a wall, and furniture that stands free, by kind of room.
AGAINST_WALLS: dict[str, tuple[Maker, ...]] = {
    'living': (storage.shelf, furniture.sofa, storage.drawers, furniture.big_plant,
               furniture.floor_lamp, furniture.desk, furniture.table, furniture.chair),
    'bedroom': (furniture.bed, storage.wardrobe, storage.drawers, furniture.desk,
                storage.shelf, furniture.chair, furniture.floor_lamp),
    'office': (furniture.desk, furniture.desk, storage.shelf, storage.drawers,
               furniture.big_plant, storage.cartons, furniture.office_chair),
    'kitchen': (storage.counter, storage.counter, storage.appliance, storage.shelf,
                furniture.table, furniture.stool, storage.wardrobe),
    'store': (storage.shelf, storage.shelf, storage.cartons, storage.cartons,
              storage.bin_on_table, storage.bin_, furniture.slope, furniture.table),
}
FREE_STANDING: dict[str, tuple[Maker, ...]] = {
    'living': (furniture.table, furniture.round_table, furniture.sofa, furniture.chair,
               furniture.stool, furniture.big_plant, furniture.person),
    'bedroom': (furniture.bed, furniture.chair, furniture.stool, storage.cartons),
    'office': (furniture.desk, furniture.desk, furniture.office_chair, furniture.table,
               furniture.round_table, furniture.person),
    'kitchen': (furniture.table, furniture.round_table, furniture.stool, furniture.chair,
                storage.counter, furniture.person),
    'store': (storage.cartons, storage.bin_, storage.bin_on_table, storage.shelf,
              furniture.column, furniture.slope, furniture.person, furniture.table),
}
SEATS = (furniture.chair, furniture.chair, furniture.office_chair, furniture.stool)
TABLES = (furniture.table, furniture.round_table, furniture.desk)


class Layout:
    """Collects the meshes of a room and the boxes that are taken.

    `makers` are those of the furniture against walls, and of what stands free.
    """

    def __init__(self, rng, palette: Palette, size,
                 makers: tuple[Sequence[Maker], Sequence[Maker]],
                 external: Sequence[Sequence[Mesh]]):
        self.rng, self.palette, self.size = rng, palette, size
        self.against_walls, self.free_standing = makers
        self.external = external
        self.meshes: list[Mesh] = []
        self.boxes: list[tuple[np.ndarray, np.ndarray]] = []
        # What a close-up looks at: the boxes again, and how often.
        self.surfaces: list[tuple[np.ndarray, np.ndarray, float]] = []

    def fits(self, meshes, gap: float = 0.02) -> bool:
        """Whether the meshes lie in the room and touch nothing that is there."""
        low, high = bounds(meshes)
        if np.any(low[:2] < -0.005) or np.any(high[:2] > self.size[:2] + 0.005):
            return False
        return not any(np.all(low < b + gap) and np.all(high > a - gap)
                       for a, b in self.boxes)

    def add(self, meshes) -> bool:
        """Put the meshes in the room if they fit."""
        if not self.fits(meshes):
            return False
        low, high = bounds(meshes)
        self.meshes += meshes
        self.boxes.append((low, high))
        # Chairs have about ten parts: close views rather go to what is full of things.
        self.surfaces.append((low, high, max(len(meshes) - 10.0, 0.5)))
        return True

    def _new(self, makers) -> tuple[list[Mesh], Maker | None]:
        """A piece from outside or a built-in one, and what made it."""
        if len(self.external) and self.rng.random() < 0.5:
            return list(self.external[int(self.rng.integers(len(self.external)))]), None
        maker = makers[int(self.rng.integers(len(makers)))]
        return maker(self.rng, self.palette), maker

    def along_wall(self, frame, length: float, openings, fill: float) -> None:
        """A row of furniture with its back to a wall, free of doors and below windows."""
        x = self.rng.uniform(0.02, 0.5)
        while x < length - 0.3:
            if self.rng.random() > fill:
                x += self.rng.uniform(0.3, 1.5)
                continue
            meshes, maker = self._new(self.against_walls)
            low, high = bounds(meshes)
            width = float(high[0] - low[0])
            blocked = any(x < b + 0.1 and x + width > a - 0.1 and high[2] > z0
                          for a, b, z0, _ in openings)
            if x + width > length or blocked:
                x += 0.25
                continue
            moved = placed(meshes, x - low[0], -high[1] - self.rng.uniform(0.01, 0.06))
            if self.add([mesh.moved(frame) for mesh in moved]) and maker in TABLES:
                self._seats(self.boxes[-1])
            x += width + self.rng.choice([0.01, 0.1, 0.4]) * self.rng.random()

    def in_the_middle(self, tries: int) -> None:
        """Free-standing pieces, most of them square to the room."""
        for _ in range(tries):
            meshes, maker = self._new(self.free_standing)
            yaw = self.rng.integers(4) * np.pi / 2
            askew = self.rng.random() > 0.7
            yaw += self.rng.uniform(0, 1.5) if askew else self.rng.normal(0, 0.05)
            turned = placed(meshes, yaw=yaw)
            low, high = bounds(turned)
            space = self.size[:2] - (high - low)[:2]
            if np.any(space < 0.2):
                continue
            x, y = self.rng.uniform(0.1, space - 0.1) - low[:2]
            if self.add(placed(turned, x, y)) and maker in TABLES:
                self._seats(self.boxes[-1])

    def _seats(self, table) -> None:
        """Chairs about a table, pushed in or pulled out."""
        low, high = table
        maker = SEATS[int(self.rng.integers(len(SEATS)))]
        for side in range(4):
            if self.rng.random() < 0.55:
                yaw = side * np.pi / 2 + self.rng.normal(0, 0.25)
                seat = placed(maker(self.rng, self.palette), yaw=yaw)
                reach = self.rng.uniform(0.28, 0.6)
                along = self.rng.uniform(0.25, 0.75)
                # A chair's front (-y) faces the table: at yaw 0 it stands on the +y side.
                x = (low[0] + along * (high[0] - low[0]), low[0] - reach,
                     low[0] + along * (high[0] - low[0]), high[0] + reach)[side]
                y = (high[1] + reach, low[1] + along * (high[1] - low[1]),
                     low[1] - reach, low[1] + along * (high[1] - low[1]))[side]
                self.add(placed(seat, x, y))

    def on_the_floor(self, count: int) -> None:
        """Small things and bins that were left on the floor."""
        for _ in range(count):
            thing = (storage.bin_(self.rng, self.palette) if self.rng.random() < 0.3
                     else small_thing(self.rng, self.palette, 0.8, 0.8)[0])
            turned = placed(thing, yaw=self.rng.uniform(0, 2 * np.pi))
            self.add(placed(turned, *self.rng.uniform(0.2, self.size[:2] - 0.2)))

    def rug(self) -> None:
        """A thin carpet; furniture may stand on it."""
        size = np.minimum(self.rng.uniform([0.8, 1.0], [3.0, 3.0]), self.size[:2] * 0.8)
        corner = self.rng.uniform(0.05, self.size[:2] - size - 0.05)
        self.meshes.append(fixtures.box((*corner, 0), (*(corner + size), 0.008),
                                        self.palette('rug')))

    def walls(self) -> list[tuple]:
        """Build the shell; gives (frame, length, openings) of each wall."""
        floor = self.palette('floor')
        low, high = -np.full(2, fixtures.THICKNESS), self.size[:2] + fixtures.THICKNESS
        self.meshes.append(fixtures.box((*low, -0.1), (*high, 0), floor))
        self.meshes.append(fixtures.box((*low, self.size[2]), (*high, self.size[2] + 0.1),
                                        self.palette('ceiling')))
        return [(frame, length, self._wall(frame, length, floor))
                for frame, length in fixtures.wall_frames(self.size)]

    def _wall(self, frame, length, floor) -> dict[str, list]:
        """One wall with its openings: {'door': [...], 'window': [...]}."""
        rng, height = self.rng, float(self.size[2])
        openings: dict[str, list] = {'door': [], 'window': []}
        x = rng.uniform(0.1, 1.0)
        while x < length - 0.8:
            kind = rng.choice(['door', 'window', 'none'], p=[0.18, 0.4, 0.42])
            if kind == 'door':
                opening = (x, x + rng.uniform(0.75, 1.0), 0.0, rng.uniform(1.98, 2.1))
            else:
                bottom = rng.choice([0.05, 0.85, 0.95])
                opening = (x, x + rng.uniform(0.5, 2.2), bottom,
                           min(height - 0.15, bottom + rng.uniform(1.0, 2.1)))
            if kind != 'none' and opening[1] < length - 0.1:
                openings[kind].append(opening)
            x = opening[1] + rng.uniform(0.35, 1.8)
        parts = fixtures.wall_panels(length, height, openings['door'] + openings['window'],
                                     self.palette('wall'))
        for opening in openings['door']:
            parts += fixtures.door(rng, self.palette, opening)
            parts += fixtures.niche(rng, self.palette, opening, floor)
        for opening in openings['window']:
            parts += fixtures.window(rng, self.palette, opening)
        parts += fixtures.wall_details(rng, self.palette, length)
        self.meshes += [part.moved(frame) for part in parts]
        return openings

    def decorate(self, frame, length, openings) -> None:
        """Pictures and wall shelves where the wall has no opening."""
        rng = self.rng
        for _ in range(int(rng.poisson(length / 2.5))):
            x = rng.uniform(0.4, max(length - 0.4, 0.41))
            if any(a - 0.7 < x < b + 0.7 for a, b, *_ in openings):
                continue
            if rng.random() < 0.25:
                parts = fixtures.wall_shelf(rng, self.palette, x, self._on_wall_shelf)
            else:
                parts = fixtures.picture(rng, self.palette, x, rng.uniform(1.3, 1.8))
            moved = [part.moved(frame) for part in parts]
            if self.fits(moved, 0.0):
                self.meshes += moved

    def _on_wall_shelf(self, low, high, z) -> list[Mesh]:
        return clutter(self.rng, self.palette, low, high, z, max_height=0.4, density=25)
