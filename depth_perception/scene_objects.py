"""Small things that lie on tables, shelves and floors. Origin: middle of the underside."""
from __future__ import annotations

import numpy as np

from .scene_materials import Palette
from .scene_mesh import Mesh, bounds
from .scene_shapes import ball, block, box, cylinder, extrusion, lathe, lying, placed, plain, sheet


def book(rng, palette: Palette) -> list[Mesh]:
    """A book that lies on its side."""
    size = rng.uniform([0.12, 0.17, 0.01], [0.22, 0.31, 0.05])
    cover = palette.any('poster', 'spine', 'label')
    leaves = plain((228, 222, 205))
    return [block(0, 0, 0.002, size - [0.006, 0.006, 0.004], leaves),
            block(0, 0, 0, (size[0], size[1], 0.002), cover),
            block(0, 0, size[2] - 0.002, (size[0], size[1], 0.002), cover),
            block(-size[0] / 2, 0, 0, (0.002, size[1], size[2]), cover)]


def book_stack(rng, palette) -> list[Mesh]:
    """Books on top of each other."""
    meshes, z = [], 0.0
    for _ in range(int(rng.integers(2, 7))):
        one = book(rng, palette)
        meshes += placed(one, *rng.normal(0, 0.01, 2), z, rng.normal(0, 0.25))
        z += float(bounds(one)[1][2])
    return meshes


def cup(rng, palette) -> list[Mesh]:
    """A cup or a mug, open at the top."""
    radius, height = rng.uniform(0.028, 0.05), rng.uniform(0.06, 0.13)
    foot = radius * rng.uniform(0.6, 1.0)
    wall = 0.004
    body = lathe([(0, 0), (foot, 0), (radius, height), (radius - wall, height),
                  (foot - wall, 0.01), (0, 0.008)], palette.any('ceramic', 'label', 'plastic'))
    parts = [body]
    if rng.random() < 0.6:
        parts.append(_handle(radius, height, palette('ceramic')))
    return parts


def _handle(radius, height, material) -> Mesh:
    """Half a ring beside a cup, of square section."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, 8)
    grid = []
    for reach, side in ((0.9, -1), (1.15, -1), (1.15, 1), (0.9, 1), (0.9, -1)):
        r = reach * height * 0.3
        grid.append(np.column_stack([radius * 0.93 + r * np.cos(angle), np.full(8, side * 0.005),
                                     height * 0.5 + r * np.sin(angle)]))
    return sheet(np.array(grid), material)


def bottle(rng, palette) -> list[Mesh]:
    """A bottle with a label and a cap."""
    radius, height = rng.uniform(0.025, 0.05), rng.uniform(0.12, 0.34)
    neck = radius * rng.uniform(0.25, 0.5)
    shoulder = height * rng.uniform(0.55, 0.75)
    glass = palette.any('plastic', 'ceramic')
    return [lathe([(0, 0), (radius, 0), (radius, shoulder), (neck, shoulder + radius),
                   (neck, height), (0, height)], glass),
            cylinder(0, 0, shoulder * 0.2, radius + 0.001, shoulder * 0.55, palette('label')),
            cylinder(0, 0, height - 0.02, neck + 0.003, 0.022, palette('plastic'))]


def can(rng, palette) -> list[Mesh]:
    """A tin."""
    radius, height = rng.uniform(0.025, 0.06), rng.uniform(0.05, 0.18)
    return [cylinder(0, 0, 0.003, radius, height, palette('label'), segments=20),
            cylinder(0, 0, 0, radius * 0.95, height + 0.006, palette('metal'), segments=20)]


def bowl(rng, palette) -> list[Mesh]:
    """A bowl or a plate, sometimes with fruit."""
    radius, height = rng.uniform(0.05, 0.16), rng.uniform(0.02, 0.1)
    steps = np.linspace(0.15, 1, 6)
    outside = np.column_stack([radius * steps ** 0.5, height * steps ** 1.6])
    inside = outside[::-1] * [0.95, 1] + [0, 0.004]
    profile = np.concatenate([[[0, 0]], outside, inside, [[0, inside[-1, 1]]]])
    parts = [lathe(profile, palette.any('ceramic', 'plastic', 'metal'))]
    if rng.random() < 0.5 and height > 0.04:
        for _ in range(int(rng.integers(2, 6))):
            at = rng.normal(0, radius * 0.3, 2)
            parts.append(ball(*at, height * 0.8, rng.uniform(0.02, 0.04), palette('plastic')))
    return parts


def packet(rng, palette) -> list[Mesh]:
    """A printed box."""
    size = rng.uniform([0.03, 0.03, 0.04], [0.22, 0.12, 0.32])
    return [block(0, 0, 0, size, palette.any('label', 'label', 'carton', 'poster'))]


def ball_toy(rng, palette) -> list[Mesh]:
    """A ball."""
    radius = rng.uniform(0.02, 0.14)
    return [ball(0, 0, radius, radius, palette.any('plastic', 'fabric', 'label', 'rug'))]


def vase(rng, palette) -> list[Mesh]:
    """A turned vessel with a wavy outline."""
    height, radius = rng.uniform(0.1, 0.4), rng.uniform(0.03, 0.12)
    z = np.linspace(0, 1, 9)
    wave = 1 + rng.uniform(0.1, 0.5) * np.sin(z * rng.uniform(2, 7) + rng.uniform(0, 6))
    outside = np.column_stack([radius * wave, z * height])
    return [lathe(np.concatenate([[[0, 0]], outside, outside[:4:-1] * [0.85, 1]]),
                  palette('ceramic'))]


def potted_plant(rng, palette, scale=1.0) -> list[Mesh]:
    """A pot with a tuft of leaves."""
    height = rng.uniform(0.15, 0.4) * scale
    radius = height * rng.uniform(0.25, 0.4)
    parts = [cylinder(0, 0, 0, radius * 0.75, height * 0.5, palette.any('ceramic', 'plastic'),
                      top=radius),
             cylinder(0, 0, height * 0.49, radius * 0.9, 0.012, plain((60, 45, 35)))]
    leaf = palette('leaf')
    for _ in range(int(rng.integers(8, 26))):
        parts += [_leaf(rng, height * 0.5, height * rng.uniform(0.5, 1.3), leaf)]
    return parts


def _leaf(rng, z, length, material) -> Mesh:
    """A bent blade that starts near the axis at height z."""
    s = np.linspace(0, 1, 5)
    tilt, bend = rng.uniform(0.2, 1.2), rng.uniform(0.0, 1.4)
    angle = np.pi / 2 - tilt * (0.3 + bend * s)
    along = np.cumsum(np.column_stack([np.cos(angle), np.sin(angle)]) * length / 4, axis=0)
    half = length * rng.uniform(0.08, 0.2) * np.sin(np.pi * (0.15 + 0.85 * s))
    grid = np.stack([np.column_stack([along[:, 0], side * half, z + along[:, 1]])
                     for side in (-1, 0, 1)], axis=1)
    grid[:, 1, 2] -= half * 0.3
    return placed([sheet(grid, material)], yaw=rng.uniform(0, 2 * np.pi))[0]


def laptop(rng, palette) -> list[Mesh]:
    """An open laptop."""
    width, depth = rng.uniform(0.28, 0.4), rng.uniform(0.2, 0.27)
    shell = palette.any('metal', 'plastic')
    tilt = rng.uniform(0.1, 0.5)
    lid = [box((-width / 2, -0.004, 0), (width / 2, 0.004, depth), shell),
           box((-width / 2 + .01, -0.005, .01), (width / 2 - .01, -0.004, depth - .01),
               palette('screen'))]
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]]
    turn[1:3, 3] = depth / 2, 0.015
    return [block(0, 0, 0, (width, depth, 0.014), shell),
            block(0, 0.03, 0.014, (width * 0.9, depth * 0.45, 0.002), palette('keyboard'))
            ] + [part.moved(turn) for part in lid]


def monitor(rng, palette) -> list[Mesh]:
    """A screen on a foot."""
    width = rng.uniform(0.4, 0.75)
    height, lift = width * rng.uniform(0.5, 0.65), rng.uniform(0.08, 0.18)
    frame = plain(rng.uniform(10, 60) * np.ones(3), gloss=0.3)
    return [block(0, 0.03, 0, (0.22, 0.16, 0.012), frame),
            block(0, 0.05, 0.01, (0.05, 0.03, lift + 0.1), frame),
            box((-width / 2, 0, lift), (width / 2, 0.035, lift + height), frame),
            box((-width / 2 + .012, -.002, lift + .012),
                (width / 2 - .012, 0, lift + height - .012),
                palette('screen'))]


def keyboard(rng, palette) -> list[Mesh]:
    """A keyboard and a mouse."""
    mouse_x = rng.uniform(0.26, 0.34)
    return [block(0, 0, 0, (0.43, 0.14, 0.02), palette('keyboard')),
            lathe([(0, 0), (0.032, 0), (0.028, 0.02), (0.012, 0.034), (0, 0.036)],
                  palette('plastic'), centre=(mouse_x, 0))]


def desk_lamp(rng, palette) -> list[Mesh]:
    """A lamp with an arm."""
    height, metal = rng.uniform(0.3, 0.55), palette('metal')
    reach = rng.uniform(0, 0.18)
    return [cylinder(0, 0, 0, 0.08, 0.02, metal),
            cylinder(0, 0, 0.02, 0.009, height, metal, segments=8),
            block(reach / 2, 0, height, (reach + 0.02, 0.014, 0.014), metal),
            lathe([(0.09, height - 0.1), (0.035, height + 0.02), (0, height + 0.02)],
                  palette.any('metal', 'plastic', 'fabric'), centre=(reach, 0)),
            ball(reach, 0, height - 0.05, 0.03, palette('glow'), segments=10)]


def papers(rng, palette) -> list[Mesh]:
    """Some sheets of paper."""
    return [part for i in range(int(rng.integers(1, 5)))
            for part in placed([block(0, 0, 0, (0.21, 0.297, 0.001), palette('page'))],
                               *rng.normal(0, 0.03, 2), 0.001 * i, rng.normal(0, 0.4))]


def tool(rng, palette) -> list[Mesh]:
    """Something with a handle that lies on its side."""
    length, radius = rng.uniform(0.12, 0.3), rng.uniform(0.008, 0.018)
    head = block(0, 0, length, rng.uniform([0.02, 0.02, 0.02], [0.1, 0.035, 0.06]),
                 palette('metal'))
    handle = cylinder(0, 0, 0, radius, length, palette.any('plastic', 'wood'), segments=10)
    upright = [handle, head]
    low = bounds(lying(upright))[0]
    return placed(lying(upright), 0, length / 2, -float(low[2]))


def cloth(rng, palette) -> list[Mesh]:
    """A folded towel."""
    size, stuff = rng.uniform([0.15, 0.12], [0.4, 0.3]), palette('fabric')
    layers = int(rng.integers(1, 4))
    return [block(*rng.normal(0, 0.004, 2), 0.022 * i, (*size, 0.02), stuff)
            for i in range(layers)]


def toy_blocks(rng, palette) -> list[Mesh]:
    """Coloured blocks, strewn."""
    parts = []
    for _ in range(int(rng.integers(2, 7))):
        size = rng.uniform(0.02, 0.07, 3)
        parts += placed([block(0, 0, 0, size, palette('plastic'))],
                        *rng.normal(0, 0.06, 2), 0, rng.uniform(0, 3))
    return parts


def pen_pot(rng, palette) -> list[Mesh]:
    """A pot with pens."""
    parts = [lathe([(0.035, 0), (0.04, 0.1), (0.037, 0.1), (0.032, 0.01), (0, 0.01)],
                   palette.any('metal', 'plastic', 'ceramic'))]
    for _ in range(int(rng.integers(2, 8))):
        parts += [cylinder(*rng.uniform(-0.022, 0.022, 2), 0.01, 0.004,
                           rng.uniform(0.12, 0.18), palette('plastic'), segments=6)]
    return parts


def clock_or_photo(rng, palette) -> list[Mesh]:
    """A framed picture that stands."""
    size = rng.uniform([0.08, 0.015, 0.1], [0.25, 0.03, 0.3])
    inner = size - [0.03, 0, 0.03]
    return [block(0, 0, 0, size, palette.any('wood', 'metal')),
            block(0, -size[1] / 2, 0.015, (inner[0], 0.002, inner[2]), palette('poster'))]


def helmet(rng, palette) -> list[Mesh]:
    """A cap or helmet with a peak."""
    radius = rng.uniform(0.08, 0.13)
    angle = np.linspace(0, np.pi / 2, 7)
    return [lathe(np.column_stack([radius * np.cos(angle), radius * np.sin(angle)]),
                  palette('plastic')),
            extrusion([(-radius, -radius * 1.4), (radius, -radius * 1.4), (radius, 0),
                       (-radius, 0)], 0, 0.008, palette('plastic'))]
