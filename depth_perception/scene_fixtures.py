"""The room itself: walls with openings, floor, ceiling, and what is fixed to them.

A wall's own frame: x runs along it from 0 to its length, z up, y = 0 is its inner face and the
room lies at negative y.
"""
from __future__ import annotations

import numpy as np

from .scene_materials import Palette
from .scene_mesh import Mesh
from .scene_shapes import (
    Material,
    ball,
    block,
    box,
    cylinder,
    lathe,
    lying,
    placed,
    rotation_z,
    sheet,
)

THICKNESS = 0.2


def wall_panels(length, height, openings, material: Material) -> list[Mesh]:
    """Boxes that make a wall with rectangular openings (x0, x1, z0, z1), apart along x."""
    parts, x = [], -THICKNESS
    for x0, x1, z0, z1 in sorted(openings):
        parts.append(box((x, 0, 0), (x0, THICKNESS, height), material))
        if z0 > 0:
            parts.append(box((x0, 0, 0), (x1, THICKNESS, z0), material))
        parts.append(box((x0, 0, z1), (x1, THICKNESS, height), material))
        x = x1
    return parts + [box((x, 0, 0), (length + THICKNESS, THICKNESS, height), material)]


def window(rng, palette: Palette, opening) -> list[Mesh]:
    """Frame, bars, sill and the bright picture outside; often curtains or a radiator."""
    x0, x1, z0, z1 = opening
    frame, bar = palette.any('wood', 'plastic'), 0.05
    inside = rng.uniform(0.02, 0.12)
    parts = [box((x0, inside + 0.06, z0), (x1, inside + 0.07, z1), palette('outdoors')),
             box((x0 - 0.05, -rng.uniform(0.02, 0.2), z0 - 0.03), (x1 + 0.05, 0.05, z0), frame)]
    for x in np.linspace(x0, x1 - bar, int(rng.integers(2, 5))):
        parts += [box((x, inside, z0), (x + bar, inside + 0.05, z1), frame)]
    for z in (z0, z1 - bar):
        parts += [box((x0, inside, z), (x1, inside + 0.05, z + bar), frame)]
    if rng.random() < 0.5:
        cloth, low = palette('fabric'), rng.choice([0.03, z0 - 0.15])
        reach = (x1 - x0) * rng.uniform(0.15, 0.35)
        for a, b in ((x0 - 0.2, x0 - 0.2 + reach), (x1 + 0.2 - reach, x1 + 0.2)):
            parts.append(curtain(rng, a, b, max(low, 0.03), z1 + 0.12, cloth))
        parts.append(box((x0 - 0.3, -0.1, z1 + 0.12), (x1 + 0.3, -0.08, z1 + 0.14),
                         palette('metal')))
    elif z0 > 0.6:
        parts += placed(radiator(rng, palette, min(x1 - x0, 1.6), z0 * 0.7), (x0 + x1) / 2, 0)
    return parts


def curtain(rng, x0, x1, z0, z1, cloth: Material) -> Mesh:
    """A hanging cloth in folds."""
    x = np.linspace(x0, x1, 40)
    folds = np.sin(x * rng.uniform(25, 60) + rng.uniform(0, 6)) * rng.uniform(0.015, 0.045)
    rows = [np.column_stack([x, -0.08 + folds * grow, np.full(40, z)])
            for z, grow in ((z1, 0.6), ((z0 + z1) / 2, 0.9), (z0, 1.2))]
    return sheet(np.array(rows), cloth)


def radiator(rng, palette, width, height) -> list[Mesh]:
    """A ribbed radiator that stands off the wall at x = 0."""
    metal = palette.any('ceramic', 'metal')
    ribs = np.arange(-width / 2, width / 2, rng.uniform(0.045, 0.08))
    return [block(0, -0.08, 0.12, (width, 0.04, height), metal)] + [
        block(x + 0.02, -0.08, 0.12, (0.03, 0.1, height), metal) for x in ribs]


def door(rng, palette, opening) -> list[Mesh]:
    """A frame with a leaf that is shut or stands open into the room."""
    x0, x1, _, z1 = opening
    frame, leaf = palette('wood'), palette.any('wood', 'plastic')
    parts = [box((x, -0.02, 0), (x + 0.08, 0.1, z1 + 0.06), frame) for x in (x0 - 0.06, x1 - 0.02)]
    parts.append(box((x0 - 0.06, -0.02, z1 - 0.02), (x1 + 0.06, 0.1, z1 + 0.06), frame))
    width = x1 - x0
    swing = [box((0, 0, 0.01), (width, 0.04, z1), leaf),
             box((width - 0.09, -0.06, 1.02), (width - 0.07, 0.1, 1.05), palette('metal')),
             box((width - 0.19, -0.07, 1.02), (width - 0.07, -0.05, 1.05), palette('metal'))]
    for z in ([0.25, 1.15] if rng.random() < 0.5 else []):  # panels
        swing += [box((0.15, -0.008, z), (width - 0.15, 0, z + 0.7), palette('wood'))]
    angle = 0.0 if rng.random() < 0.6 else -rng.uniform(0.3, 1.6)
    return parts + placed(swing, x0, 0.03, 0, angle)


def niche(rng, palette, opening, floor: Material) -> list[Mesh]:
    """What lies behind an open door: a short, dimmer corridor."""
    x0, x1, _, z1 = opening
    depth, side, height = rng.uniform(0.8, 4.0), rng.uniform(0.1, 1.2), z1 + rng.uniform(0.1, 0.5)
    a, b, y0, y1 = x0 - side, x1 + side, THICKNESS, THICKNESS + depth
    wall = palette('wall')
    return [box((a, y0, -0.1), (b, y1, 0), floor),
            box((a, y0, height), (b, y1, height + 0.1), palette('ceiling')),
            box((a - 0.1, y0, 0), (a, y1, height), wall),
            box((b, y0, 0), (b + 0.1, y1, height), wall),
            box((a, y1, 0), (b, y1 + 0.1, height), wall)]


def picture(rng, palette, x, z) -> list[Mesh]:
    """A framed picture, a poster, a board or a mirror-like panel centred at (x, z)."""
    width, height = rng.uniform([0.2, 0.2], [1.2, 0.9])
    edge = rng.uniform(0.01, 0.05)
    deep = rng.uniform(0.012, 0.04)
    return [box((x - width / 2 - edge, -deep, z - height / 2 - edge),
                (x + width / 2 + edge, 0, z + height / 2 + edge), palette.any('wood', 'metal')),
            box((x - width / 2, -deep - 0.002, z - height / 2),
                (x + width / 2, -deep, z + height / 2),
                palette.any('poster', 'poster', 'page', 'screen', 'ceramic'))]


def wall_details(rng, palette, length) -> list[Mesh]:
    """Skirting, sockets, switches, pipes."""
    parts, white = [], palette('ceramic')
    if rng.random() < 0.7:
        high = rng.uniform(0.04, 0.15)
        parts.append(box((0, -0.015, 0), (length, 0, high), palette.any('wood', 'ceramic')))
    for _ in range(int(rng.integers(0, 4))):
        x, z = rng.uniform(0.1, length - 0.1), rng.choice([0.3, 0.3, 1.1])
        parts.append(box((x - 0.04, -0.012, z - 0.04), (x + 0.04, 0, z + 0.04), white))
    if rng.random() < 0.2:
        pipe = cylinder(0, 0, 0, rng.uniform(0.01, 0.06), 3.6, palette('metal'), segments=12)
        parts += placed([pipe], rng.uniform(0.1, length - 0.1), -0.08)
    return parts


def wall_shelf(rng, palette, x, contents) -> list[Mesh]:
    """A board on the wall; `contents(low, high, z)` gives what stands on it."""
    width, depth, z = rng.uniform(0.4, 1.2), rng.uniform(0.15, 0.3), rng.uniform(1.1, 1.8)
    return [box((x - width / 2, -depth, z - 0.025), (x + width / 2, 0, z), palette('wood'))
            ] + contents((x - width / 2, -depth), (x + width / 2, 0), z)


def ceiling_lamps(rng, palette, size) -> tuple[list[Mesh], list[np.ndarray]]:
    """Lamps under the ceiling and where their light comes from."""
    parts, spots = [], []
    kind = rng.integers(4)
    across, along = max(1, int(size[0] / 3)), max(1, int(size[1] / 3))
    for x in (np.arange(across) + 0.5) * size[0] / across:
        for y in (np.arange(along) + 0.5) * size[1] / along:
            parts += placed(_LAMPS[kind](rng, palette, size[2]), x, y, 0)
            spots.append(np.array([x, y, size[2] - (0.15, 0.15, 0.7, 0.3)[kind]]))
    if rng.random() < 0.15:
        for x in np.arange(0.5, size[0], rng.uniform(0.8, 1.6)):
            parts += [box((x, 0, size[2] - 0.18), (x + 0.12, size[1], size[2]), palette('wood'))]
    return parts, spots


def _panel_lamp(rng, palette, top):
    return [block(0, 0, top - 0.03, (0.6, 0.6, 0.03), palette('metal')),
            block(0, 0, top - 0.035, (0.56, 0.56, 0.005), palette('glow'))]


def _dome_lamp(rng, palette, top):
    return [lathe([(0, top - 0.1), (0.12, top - 0.08), (0.18, top)], palette('glow'))]


def _pendant_lamp(rng, palette, top):
    drop = 0.6
    return [cylinder(0, 0, top - drop, 0.006, drop, palette('plastic'), segments=6),
            lathe([(0.2, top - drop - 0.15), (0.05, top - drop), (0, top - drop)],
                  palette.any('metal', 'fabric')),
            ball(0, 0, top - drop - 0.1, 0.05, palette('glow'), segments=10)]


def _tube_lamp(rng, palette, top):
    tube = lying([cylinder(0, 0, -0.6, 0.02, 1.2, palette('glow'), segments=8)])
    return [block(0, 0, top - 0.05, (0.12, 1.25, 0.05), palette('metal'))
            ] + placed(tube, 0, 0, top - 0.08)


_LAMPS = (_panel_lamp, _dome_lamp, _pendant_lamp, _tube_lamp)


def wall_frames(size) -> list[tuple[np.ndarray, float]]:
    """Each wall's frame in the room, (4, 4), and its length: at y = 0, x max, y max, x = 0."""
    width, depth = float(size[0]), float(size[1])
    corners = [(width, 0.0), (width, depth), (0.0, depth), (0.0, 0.0)]
    frames = []
    for k, yaw in enumerate((np.pi, -np.pi / 2, 0.0, np.pi / 2)):
        frame = rotation_z(yaw)
        frame[:2, 3] = corners[k]
        frames.append((frame, width if k % 2 == 0 else depth))
    return frames
