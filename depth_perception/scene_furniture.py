"""Furniture in real sizes. Origin: middle of the footprint on the floor; front towards -y."""
from __future__ import annotations

import numpy as np

from .scene_clutter import clutter
from .scene_materials import Palette
from .scene_mesh import Mesh
from .scene_objects import keyboard, laptop, monitor, potted_plant
from .scene_shapes import Material, ball, block, box, cylinder, extrusion, lathe, placed, sheet
from .scene_storage import drawers, legs


def table(rng, palette: Palette, size=None) -> list[Mesh]:
    """A dining, coffee or work table, mostly with things on it."""
    if size is None:
        low = rng.random() < 0.25
        size = rng.uniform([0.6, 0.5, 0.35 if low else 0.68], [2.0, 1.0, 0.5 if low else 0.8])
    width, depth, height = size
    thick, wood = rng.uniform(0.02, 0.05), palette('wood')
    parts = [block(0, 0, height - thick, (width, depth, thick), wood)]
    kind = rng.random()
    if kind < 0.7:
        parts += legs(rng, width, depth, height - thick, palette.any('wood', 'metal'))
        if rng.random() < 0.5:
            parts += [block(0, 0, height - thick - 0.08, (width - .12, depth - .12, 0.08), wood)]
    elif kind < 0.85:
        for side in (-1, 1):
            parts += [block(side * (width / 2 - 0.03), 0, 0, (0.04, depth, height - thick), wood)]
    else:
        parts += [cylinder(0, 0, 0, depth * 0.32, 0.04, palette('metal')),
                  cylinder(0, 0, 0, 0.05, height - thick, palette('metal'))]
    return parts + clutter(rng, palette, (-width / 2, -depth / 2), (width / 2, depth / 2), height,
                           max_height=0.5, density=rng.choice([0, 4, 10, 20, 35]))


def round_table(rng, palette) -> list[Mesh]:
    """A table on one foot."""
    radius, height = rng.uniform(0.3, 0.65), rng.uniform(0.5, 0.78)
    reach = radius * 0.65
    return [cylinder(0, 0, height - 0.03, radius, 0.03, palette('wood'), segments=32),
            cylinder(0, 0, 0, 0.045, height - 0.03, palette('metal')),
            cylinder(0, 0, 0, radius * 0.6, 0.03, palette('metal'), top=0.05)
            ] + clutter(rng, palette, (-reach, -reach), (reach, reach), height, max_height=0.5,
                        density=rng.choice([0, 5, 12]))


def desk(rng, palette) -> list[Mesh]:
    """A desk with a computer, drawers and a mess."""
    width, depth, height = rng.uniform([1.0, 0.55, 0.68], [1.8, 0.85, 0.78])
    wood = palette('wood')
    parts = [block(0, 0, height - 0.03, (width, depth, 0.03), wood)]
    parts += legs(rng, width, depth, height - 0.03, palette.any('metal', 'wood'))
    if rng.random() < 0.6:
        side = rng.choice([-1, 1])
        parts += placed(drawers(rng, palette, (0.4, depth - 0.08, height - 0.06), False),
                        side * (width / 2 - 0.24))
    back = depth / 2
    if rng.random() < 0.7:
        for i in range(1 if width < 1.3 else int(rng.integers(1, 3))):
            parts += placed(monitor(rng, palette), (i - 0.25) * 0.62, back - 0.2, height,
                            rng.normal(0, 0.2))
        parts += placed(keyboard(rng, palette), -0.1, -0.1, height, rng.normal(0, 0.05))
    else:
        parts += placed(laptop(rng, palette), 0, 0, height, rng.normal(0, 0.2))
    for side in (-1, 1):
        parts += clutter(rng, palette, (side * width / 2 if side < 0 else width * 0.32, -back),
                         (-width * 0.32 if side < 0 else width / 2, back), height,
                         max_height=0.5, density=rng.choice([4, 12]))
    return parts


def chair(rng, palette) -> list[Mesh]:
    """A chair with four legs and a back."""
    width, depth, seat = rng.uniform([0.38, 0.38, 0.42], [0.5, 0.5, 0.5])
    top, wood = seat + rng.uniform(0.35, 0.6), palette.any('wood', 'wood', 'metal', 'plastic')
    post = rng.uniform(0.025, 0.045)
    parts = legs(rng, width, depth, seat, wood, post)
    cushion = palette.any('wood', 'fabric', 'plastic')
    parts.append(block(0, 0, seat, (width, depth, rng.uniform(0.02, 0.08)), cushion))
    back = depth / 2 - post / 2
    for side in (-1, 1):
        x = side * (width / 2 - post / 2)
        parts.append(block(x, back, seat, (post, post, top - seat), wood))
    if rng.random() < 0.5:
        parts.append(box((-width / 2, back - 0.02, seat + rng.uniform(0.05, 0.2)),
                         (width / 2, back + 0.02, top), cushion))
    else:
        for z in np.linspace(seat + 0.12, top - 0.05, int(rng.integers(2, 5))):
            parts.append(block(0, back, z, (width, 0.02, 0.05), wood))
    return parts


def office_chair(rng, palette) -> list[Mesh]:
    """A chair on a star of castors."""
    seat, width = rng.uniform(0.42, 0.55), rng.uniform(0.44, 0.54)
    cover, dark = palette('fabric'), palette.any('plastic', 'metal')
    parts = [cylinder(0, 0, 0.08, 0.03, seat - 0.08, dark, segments=10),
             block(0, 0, seat, (width, width, 0.08), cover),
             block(0, width / 2 - 0.03, seat + 0.15,
                   (width * 0.9, 0.06, rng.uniform(.35, .65)), cover),
             block(0, width / 2, seat + 0.02, (0.06, 0.03, 0.3), dark)]
    for angle in np.arange(5) * 2 * np.pi / 5:
        parts += placed([box((0, -0.025, 0.06), (0.3, 0.025, 0.1), dark),
                         ball(0.29, 0, 0.03, 0.03, dark, segments=8)], yaw=angle)
    if rng.random() < 0.6:
        for side in (-1, 1):
            parts += [block(side * width * 0.52, 0, seat + 0.2, (0.06, 0.25, 0.03), dark),
                      block(side * width * 0.52, 0, seat, (0.03, 0.05, 0.2), dark)]
    return parts


def stool(rng, palette) -> list[Mesh]:
    """A seat without a back."""
    radius, height = rng.uniform(0.14, 0.22), rng.uniform(0.4, 0.75)
    side = radius * 1.5
    return [cylinder(0, 0, height - 0.04, radius, 0.04, palette.any('wood', 'fabric', 'plastic'))
            ] + legs(rng, side, side, height - 0.04, palette.any('wood', 'metal'), 0.03)


def sofa(rng, palette) -> list[Mesh]:
    """An armchair or a sofa, with cushions."""
    seats = int(rng.integers(1, 4))
    width, depth = 0.35 + seats * rng.uniform(0.55, 0.75), rng.uniform(0.75, 1.0)
    seat, top, arm = rng.uniform(0.38, 0.48), rng.uniform(0.7, 0.95), rng.uniform(0.1, 0.22)
    cover = palette('fabric')
    parts = [block(0, 0.02, 0.06, (width, depth - 0.04, seat - 0.18), cover),
             block(0, depth / 2 - 0.11, 0.06, (width, 0.22, top - 0.06), cover)]
    parts += legs(rng, width, depth, 0.06, palette('wood'), 0.05)
    for side in (-1, 1):
        parts.append(block(side * (width - arm) / 2, 0, 0.06, (arm, depth, seat + 0.12), cover))
    step = (width - 2 * arm) / seats
    for i in range(seats):
        x = -width / 2 + arm + (i + 0.5) * step
        parts.append(block(x, -0.08, seat - 0.12, (step - 0.015, depth - 0.24, 0.14), cover))
        if rng.random() < 0.5:
            parts.append(_pillow(rng, x, depth / 2 - 0.3, seat + 0.02, palette('fabric')))
    return parts


def _pillow(rng, x, y, z, material: Material) -> Mesh:
    """A soft lens that leans back."""
    s = np.linspace(-1, 1, 7)
    a, b = np.meshgrid(s, s)
    bulge = 0.07 * np.sqrt(np.maximum((1 - a ** 2) * (1 - b ** 2), 0)) * rng.uniform(0.8, 1.3)
    half, lean = rng.uniform(0.17, 0.25), rng.uniform(0.1, 0.5)
    front = np.stack([x + half * a, y - bulge + lean * 0.2 * b, z + half * (1 - b)], axis=-1)
    back = front.copy()
    back[..., 1] += 2 * bulge
    return sheet(np.concatenate([front, back[::-1]]), material)


def bed(rng, palette) -> list[Mesh]:
    """A bed with a rumpled blanket and pillows."""
    width = rng.choice([0.9, 1.4, 1.8])
    length, height = rng.uniform([1.95, 0.4], [2.15, 0.6])
    wood, linen = palette('wood'), palette('fabric')
    parts = [block(0, 0, 0.15, (width, length, 0.12), wood),
             block(0, 0, 0.25, (width - 0.04, length - 0.06, height - 0.25), palette('fabric')),
             block(0, length / 2 - 0.02, 0, (width, 0.04, rng.uniform(0.6, 1.1)), wood),
             _blanket(rng, width + 0.06, length * rng.uniform(0.6, 0.8), -length / 2 - 0.02,
                      height, linen)]
    parts += legs(rng, width, length, 0.16, wood)
    for x in ([0.0] if width < 1 else [-width / 4, width / 4]):
        parts += placed([_pillow(rng, 0, 0, 0, palette('fabric'))], x, length / 2 - 0.3, height)
    return parts


def _blanket(rng, width, length, front, height, material: Material) -> Mesh:
    """A rumpled cloth over the mattress that hangs down at the sides."""
    x, y = np.linspace(-width / 2, width / 2, 15), np.linspace(0, length, 13)
    gx, gy = np.meshgrid(x, y)
    waves = sum(rng.uniform(0.004, 0.014) * np.sin(rng.normal(0, 9) * gx + rng.normal(0, 7) * gy)
                for _ in range(4))
    z = height + 0.035 + waves
    z[:, [0, -1]] = height * 0.45
    z[0] = height * 0.5
    return sheet(np.stack([gx, front + gy, z], axis=-1)[::-1], material)


def floor_lamp(rng, palette) -> list[Mesh]:
    """A lamp on a pole."""
    height, radius = rng.uniform(1.2, 1.8), rng.uniform(0.12, 0.25)
    shade = Material(palette('fabric').texture, 0.3, 0.0, rng.uniform(0, 1.2))
    return [cylinder(0, 0, 0, 0.14, 0.03, palette('metal')),
            cylinder(0, 0, 0, 0.012, height, palette('metal'), segments=8),
            lathe([(radius, height - 0.2), (radius * rng.uniform(.5, 1), height + 0.1)], shade,
                  segments=20)]


def big_plant(rng, palette) -> list[Mesh]:
    """A plant in a pot on the floor."""
    return potted_plant(rng, palette, rng.uniform(1.8, 4.0))


def person(rng, palette) -> list[Mesh]:
    """A standing figure of rounded shapes."""
    height, cloth, skin = rng.uniform(1.5, 1.9), palette('fabric'), palette('ceramic')
    hip, neck = height * 0.5, height * 0.84
    torso = [(0, hip - 0.05), (0.15, hip), (0.13, hip + 0.15), (0.18, neck - 0.12), (0.06, neck)]
    parts = [lathe(torso, cloth, segments=14), ball(0, 0, height - 0.12, 0.11, skin),
             cylinder(0, 0, neck - 0.02, 0.05, 0.08, skin, segments=10)]
    for side in (-1, 1):
        parts += [cylinder(side * 0.08, 0, 0.05, 0.06, hip - 0.05, palette('fabric'), top=0.085),
                  block(side * 0.08, -0.04, 0, (0.09, 0.26, 0.07), palette('plastic')),
                  cylinder(side * 0.22, rng.normal(0, 0.05), hip - 0.02, 0.035, neck - hip - 0.08,
                           cloth, top=0.05, segments=10)]
    return parts


def column(rng, palette) -> list[Mesh]:
    """A pillar up to the ceiling (cut off by it)."""
    size = rng.uniform(0.2, 0.6)
    stuff = palette.any('wall', 'wall', 'wood')
    if rng.random() < 0.4:
        return [cylinder(0, 0, 0, size / 2, 3.6, stuff, segments=28)]
    return [block(0, 0, 0, (size, size * rng.uniform(0.6, 1.6), 3.6), stuff)]


def slope(rng, palette) -> list[Mesh]:
    """A wedge or a slanted board that leans: planes that are neither level nor upright."""
    width, depth, height = rng.uniform([0.3, 0.2, 0.2], [1.2, 0.8, 1.6])
    stuff = palette.any('wood', 'poster', 'carton', 'metal')
    profile = extrusion([(-depth / 2, 0), (depth / 2, 0), (depth / 2, height)],
                        -width / 2, width / 2, stuff)
    turn = np.eye(4)
    turn[:3, :3] = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]
    return [profile.moved(turn)]
