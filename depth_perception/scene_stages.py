"""What a robot arm looks at: a shelf's bay, a table top, a bin seen from above."""
from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .scene_handheld import hardback, plain_box, product, rotation, thing, turned
from .scene_heap import CELL, Heap
from .scene_mesh import Mesh, bounds
from .scene_objects import laptop, monitor
from .scene_packaging import fine
from .scene_shapes import block, box, cylinder, placed
from .scene_storage import legs

_FRONT = -np.pi / 2  # the azimuth of -y


@dataclass
class Stage:
    """Things at arm's length; the floor is z = 0, the front is towards -y.

    Attributes
    ----------
    meshes : all parts, metres.
    things : low and high corner of each loose thing.
    solids : low and high corner of what no camera can be in.
    low, high : the box that cameras look into.
    azimuth, elevation : least and most direction from there to the camera, radians.
    distance : least and most metres.
    """

    low: np.ndarray
    high: np.ndarray
    azimuth: tuple[float, float] = (-np.pi, np.pi)
    elevation: tuple[float, float] = (0.15, 1.1)
    distance: tuple[float, float] = (0.35, 1.2)
    meshes: list[Mesh] = field(default_factory=list)
    things: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)
    solids: list[tuple[np.ndarray, np.ndarray]] = field(default_factory=list)

    def put(self, heap: Heap) -> None:
        """Take over what lies on a heap."""
        self.meshes += heap.meshes
        self.things += heap.boxes


def bay(rng, palette) -> Stage:
    """A compartment of an open shelf, full of goods, and parts of its neighbours."""
    width, depth, room = rng.uniform([0.2, 0.26, 0.18], [0.5, 0.48, 0.42])
    board, bottom = rng.uniform(0.004, 0.025), rng.uniform(0.35, 1.3)
    lining = fine(palette, *_LININGS[int(rng.integers(len(_LININGS)))])
    ground = lining if rng.random() < 0.4 else fine(palette, 'metal', 'wood', 'pasteboard')
    boards, lip = fine(palette, 'metal', 'metal', 'wood', 'carton'), rng.uniform(0.0, 0.05)
    stage = Stage(np.array([-width / 2, -depth / 2, bottom]),
                  np.array([width / 2, depth * 0.2, bottom + room * 0.8]),
                  (_FRONT - 0.5, _FRONT + 0.5), (-0.12, 0.6), (0.28, 0.7))
    below, above = int(rng.integers(0, 2)), int(rng.integers(0, 3))
    left, right = int(rng.integers(0, 2)), int(rng.integers(0, 2))
    closed = rng.random() < 0.85
    for level in range(-below, above + 1):
        z = bottom + level * (room + board)
        for column in range(-left, right + 1):
            x = column * (width + board)
            _compartment(stage, (x, z), (width, depth, room, board), lining, ground, closed)
            full = rng.uniform(0.4, 1.3) if (level, column) == (0, 0) else rng.uniform(0, 0.8)
            stage.put(_goods(rng, palette, (x, z), (width, depth, room), full))
    outer = ((-left - 0.5) * (width + board), (right + 0.5) * (width + board))
    _frame(stage, rng, boards, outer, (bottom, room, board, depth, below, above), lip)
    if rng.random() < 0.4:
        _flaps(stage, rng, palette, width, depth, bottom + room)
    stage.solids.append(bounds(stage.meshes))
    return stage


_LININGS = (('pasteboard',), ('pasteboard',), ('pasteboard', 'carton'), ('wood',), ('metal',),
            ('plastic',), ('wall', 'fabric'))


def _compartment(stage, at, sizes, lining, ground, closed: bool) -> None:
    """Two sides, a floor and perhaps a back."""
    (x, z), (width, depth, room, board) = at, sizes
    for side in (-1, 1):
        stage.meshes.append(block(x + side * (width + board) / 2, 0, z, (board, depth, room),
                                  lining))
    stage.meshes.append(block(x, 0, z - board, (width + board, depth, board), ground))
    if closed:
        stage.meshes.append(box((x - width / 2, depth / 2 - 0.004, z),
                                (x + width / 2, depth / 2, z + room), lining))


def _frame(stage, rng, material, outer, sizes, lip: float) -> None:
    """Boards, their front edges and the posts of the shelf, down to the floor."""
    bottom, room, board, depth, below, above = sizes
    low, high = bottom - below * (room + board), bottom + (above + 1) * (room + board)
    length, middle = outer[1] - outer[0], (outer[0] + outer[1]) / 2
    edge, up = rng.uniform(0.01, 0.05), rng.random() < 0.5
    for level in range(above + below + 2):
        z = low + level * (room + board) - board
        stage.meshes += [block(middle, 0.002, z, (length, depth, board * 0.98), material),
                         block(middle, -depth / 2 - 0.004, z + board - (0 if up else edge),
                               (length, 0.008, lip if up else edge), material)]
    thick = rng.uniform(0.02, 0.05)
    for x in (outer[0] - thick / 2, outer[1] + thick / 2):
        for y in (-depth / 2 + thick / 2, depth / 2 - thick / 2):
            stage.meshes.append(block(x, y, 0, (thick, thick, high + 0.1), material))
    if low > 0.2:
        stage.meshes.append(block(middle, 0, 0, (length, depth, 0.1), material))


def _flaps(stage, rng, palette, width, depth, top) -> None:
    """Dark foam that hangs before the upper corners and hides parts of the bay."""
    for side in (-1, 1):
        if rng.random() < 0.7:
            size = rng.uniform([0.05, 0.02, 0.04], [0.14, 0.06, 0.13])
            x = side * (width / 2 + rng.uniform(-0.03, 0.06))
            stage.meshes.append(block(x, -depth / 2 - rng.uniform(0.04, 0.12), top - size[2],
                                      size, palette.any('foam', 'foam', 'metal')))


def _goods(rng, palette, at, sizes, full: float) -> Heap:
    """What stands, leans and lies in a compartment."""
    (x, z), (width, depth, room) = at, sizes
    low = np.array([x - width / 2 + CELL, -depth / 2 + 0.01])
    high = np.array([x + width / 2 - CELL, depth / 2 - 0.012])
    heap, below = Heap(rng, low, high, z), z + room - 0.008
    for side in (-1, 1, 0):
        if rng.random() < 0.55 * full:
            _leaning(heap, rng, palette, low, high, side, below)
    if rng.random() < 0.35 * full:
        _row(heap, rng, palette, low, high, below)
    for _ in range(int(rng.poisson(5 * full))):
        heap.put(thing(rng, palette, min(width, depth) * 0.75, room * 0.9),
                 on_top=rng.random() < 0.2, below=below)
    return heap


def _leaning(heap, rng, palette, low, high, side: int, below: float) -> None:
    """A book or a flat box that leans on a side wall (-1, 1) or on the back wall (0)."""
    room = below - heap.base
    made = (hardback(rng, palette, room * rng.uniform(0.55, 0.95)) if rng.random() < 0.7 else
            product(rng, palette, rng.uniform([.02, .1, .4 * room], [.05, .2, .9 * room])))
    lean = rng.uniform(0.03, 0.35)
    turn = (rotation(1, side * lean) if side
            else rotation(0, -lean) @ rotation(2, rng.choice([-1, 1]) * np.pi / 2))
    meshes = turned(made, rotation(2, rng.normal(0, 0.08)) @ turn)
    half = bounds(meshes)[1]
    x, y = rng.uniform(low + half[:2], np.maximum(high - half[:2], low + half[:2] + 1e-3))
    if side:
        x = low[0] + half[0] if side < 0 else high[0] - half[0]
    else:
        y = high[1] - half[1]
    heap.put(meshes, leaning=True, below=below, at=(x, y), spread=0.0, tries=1)


def _row(heap, rng, palette, low, high, below: float) -> None:
    """Books side by side, or boxes with their fronts to the camera."""
    room, books = below - heap.base, rng.random() < 0.6
    x, height = low[0] + rng.uniform(0, 0.08), room * rng.uniform(0.5, 0.9)
    y = low[1] + rng.uniform(0, 0.06)
    for _ in range(int(rng.integers(2, 9))):
        if books:
            made = hardback(rng, palette, height * rng.uniform(0.85, 1.05))
        else:
            made = (product if rng.random() < 0.7 else plain_box)(rng, palette)
        meshes = turned(made, rotation(2, rng.normal(0, 0.04)))
        half = bounds(meshes)[1]
        x += half[0]
        if x + half[0] > high[0]:
            return
        heap.put(meshes, below=below, at=(x, y + half[1]), spread=0.0, tries=1)
        x += half[0] + CELL


def table(rng, palette) -> Stage:
    """A table top with things of 5 to 30 cm in clutter."""
    width, depth, height = rng.uniform([0.55, 0.4, 0.35], [1.6, 0.9, 1.0])
    top = fine(palette, 'wood', 'wood', 'wood', 'plastic', 'rug', 'fabric', 'metal', 'ceramic',
               'floor')
    thick, reach = rng.uniform(0.01, 0.04), np.array([width, depth]) / 2 - 0.02
    stage = Stage(np.zeros(3), np.zeros(3), elevation=(0.15, 1.15), distance=(0.4, 1.25))
    if rng.random() < 0.2:
        radius = depth * 0.6
        reach = np.full(2, radius * 0.68)
        stage.meshes += [cylinder(0, 0, height - thick, radius, thick, top, segments=32),
                         cylinder(0, 0, 0, 0.04, height - thick, palette('metal'))]
    else:
        stage.meshes += [block(0, 0, height - thick, (width, depth, thick), top)]
        stage.meshes += legs(rng, width, depth, height - thick, palette.any('wood', 'metal'))
    stage.solids.append(bounds(stage.meshes))
    heap = Heap(rng, -reach, reach, height)
    if rng.random() < 0.3:
        maker = monitor if rng.random() < 0.5 else laptop
        heap.put(turned(maker(rng, palette), rotation(2, rng.normal(0, 0.3))),
                 at=(0, reach[1]), spread=0.15)
    middle = rng.uniform(-0.6, 0.6, 2) * reach
    spread = rng.uniform(0.08, 0.22)
    for _ in range(int(rng.integers(5, 22))):
        heap.put(thing(rng, palette, 0.32, 0.34), on_top=rng.random() < 0.2, at=middle,
                 spread=spread)
    stage.put(heap)
    stage.solids += heap.boxes
    around = np.minimum(reach, spread * 1.2)
    stage.low = np.append(np.maximum(middle - around, -reach), height)
    stage.high = np.append(np.minimum(middle + around, reach), height + 0.14)
    return stage


def tote(rng, palette) -> Stage:
    """A bin of small things seen from above, on the floor or a stand, perhaps beside another."""
    width, depth, height = rng.uniform([0.26, 0.22, 0.08], [0.62, 0.45, 0.34])
    lift = rng.uniform(0.2, 0.9) if rng.random() < 0.5 else 0.0
    stage = Stage(np.array([-width / 2, -depth / 2, lift]) * [0.7, 0.7, 1],
                  np.array([width / 2, depth / 2, lift + height]) * [0.7, 0.7, 1],
                  elevation=(0.85, 1.55), distance=(0.4, 0.95))
    if lift:
        top = rng.uniform(0.01, 0.3, 2) + [width, depth]
        stage.meshes += [block(0, 0, lift - 0.02, (*top, 0.02), fine(palette, 'wood', 'metal'))]
        stage.meshes += legs(rng, *top, lift - 0.02, palette('metal'))
    full = rng.uniform(0.15, 1.2)
    _tote(stage, rng, palette, 0.0, (width, depth, height), lift, full)
    if not lift and rng.random() < 0.5:
        aside = (width + rng.uniform(0.02, 0.3)) * rng.choice([-1, 1])
        _tote(stage, rng, palette, aside, (width, depth, height), 0.0, rng.uniform(0, 1))
    stage.solids.append(bounds(stage.meshes))
    return stage


def _tote(stage, rng, palette, x, size, z, full: float) -> None:
    """One bin: four walls, a rim, and a heap in it."""
    width, depth, height = size
    wall, rim = rng.uniform(0.003, 0.012), rng.uniform(0.0, 0.03)
    stuff = fine(palette, 'plastic', 'plastic', 'plastic', 'carton', 'metal', 'wood')
    parts = [block(0, 0, 0, (width, depth, wall), stuff)]
    for side in (-1, 1):
        parts += [block(side * (width - wall) / 2, 0, 0, (wall, depth, height), stuff),
                  block(0, side * (depth - wall) / 2, 0, (width, wall, height), stuff),
                  block(side * (width + rim) / 2, 0, height - 0.01, (rim, depth + 2 * rim, .01),
                        stuff),
                  block(0, side * (depth + rim) / 2, height - 0.01, (width, rim, 0.01), stuff)]
    stage.meshes += placed(parts, x, 0, z)
    reach = np.array([width, depth]) / 2 - wall - CELL
    heap = Heap(rng, reach * [-1, -1] + [x, 0], reach + [x, 0], z + wall)
    for k in range(int(full * rng.uniform(6, 34) * np.sqrt(width * depth / 0.1))):
        heap.put(thing(rng, palette, min(width, depth) * 0.8, height * 1.1, lying=0.65,
                       tilt=0.22 if k > 4 else 0.0),
                 on_top=True, leaning=True, below=z + height * 1.25, tries=6)
    stage.put(heap)


STAGES = {'bay': bay, 'table': table, 'bin': tote}
