"""Furniture in real sizes. Origin: middle of the footprint on the floor; front towards -y."""
from __future__ import annotations

import numpy as np

from .scene_materials import Palette
from .scene_mesh import Mesh
from .scene_objects import (clutter, keyboard, laptop, monitor, potted_plant, standing_books)
from .scene_shapes import (Material, ball, block, box, cylinder, extrusion, lathe, placed, sheet)


def _legs(rng, width, depth, height, material, thickness=None) -> list[Mesh]:
    """Four legs at the corners, square or round."""
    thickness = rng.uniform(0.03, 0.08) if thickness is None else thickness
    inset = thickness / 2 + rng.uniform(0, 0.04)
    round_leg = rng.random() < 0.4
    parts = []
    for sx in (-1, 1):
        for sy in (-1, 1):
            x, y = sx * (width / 2 - inset), sy * (depth / 2 - inset)
            parts.append(cylinder(x, y, 0, thickness / 2, height, material, segments=10)
                         if round_leg else block(x, y, 0, (thickness, thickness, height), material))
    return parts


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
        parts += _legs(rng, width, depth, height - thick, palette.any('wood', 'metal'))
        if rng.random() < 0.5:
            parts.append(block(0, 0, height - thick - 0.08, (width - .12, depth - .12, 0.08), wood))
    elif kind < 0.85:
        for side in (-1, 1):
            parts.append(block(side * (width / 2 - 0.03), 0, 0, (0.04, depth, height - thick), wood))
    else:
        parts += [cylinder(0, 0, 0, depth * 0.32, 0.04, palette('metal')),
                  cylinder(0, 0, 0, 0.05, height - thick, palette('metal'))]
    return parts + clutter(rng, palette, (-width / 2, -depth / 2), (width / 2, depth / 2), height,
                           max_height=0.5, density=rng.choice([0, 3, 8, 18]))


def round_table(rng, palette) -> list[Mesh]:
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
    parts += _legs(rng, width, depth, height - 0.03, palette.any('metal', 'wood'))
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
    parts = _legs(rng, width, depth, seat, wood, post)
    cushion = palette.any('wood', 'fabric', 'plastic')
    parts.append(block(0, 0, seat, (width, depth, rng.uniform(0.02, 0.08)), cushion))
    back = depth / 2 - post / 2
    for side in (-1, 1):
        parts.append(block(side * (width / 2 - post / 2), back, seat, (post, post, top - seat), wood))
    if rng.random() < 0.5:
        parts.append(box((-width / 2, back - 0.02, seat + rng.uniform(0.05, 0.2)),
                         (width / 2, back + 0.02, top), cushion))
    else:
        for z in np.linspace(seat + 0.12, top - 0.05, int(rng.integers(2, 5))):
            parts.append(block(0, back, z, (width, 0.02, 0.05), wood))
    return parts


def office_chair(rng, palette) -> list[Mesh]:
    seat, width = rng.uniform(0.42, 0.55), rng.uniform(0.44, 0.54)
    cover, dark = palette('fabric'), palette.any('plastic', 'metal')
    parts = [cylinder(0, 0, 0.08, 0.03, seat - 0.08, dark, segments=10),
             block(0, 0, seat, (width, width, 0.08), cover),
             block(0, width / 2 - 0.03, seat + 0.15, (width * 0.9, 0.06, rng.uniform(.35, .65)), cover),
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
    radius, height = rng.uniform(0.14, 0.22), rng.uniform(0.4, 0.75)
    side = radius * 1.5
    return [cylinder(0, 0, height - 0.04, radius, 0.04, palette.any('wood', 'fabric', 'plastic'))
            ] + _legs(rng, side, side, height - 0.04, palette.any('wood', 'metal'), 0.03)


def _shelf_contents(rng, palette, x0, x1, front, back, z, room) -> list[Mesh]:
    """What stands in one compartment of a shelf."""
    kind = rng.random()
    if kind < 0.45 and room > 0.18:
        split = rng.uniform(x0, x1) if rng.random() < 0.5 else x1
        return standing_books(rng, palette, x0 + 0.005, split, front, z, room) + (
            clutter(rng, palette, (split, front), (x1, back), z, max_height=room, density=14)
            if x1 - split > 0.12 else [])
    if kind < 0.6:
        parts, x = [], x0 + 0.01
        while x + 0.12 < x1:
            width = rng.uniform(0.12, min(0.45, x1 - x))
            parts.append(box((x, front, z), (x + width, back, z + room * rng.uniform(0.4, 0.9)),
                             palette.any('carton', 'carton', 'plastic', 'label')))
            x += width + rng.uniform(0.01, 0.15)
        return parts
    if kind < 0.9:
        return clutter(rng, palette, (x0, front), (x1, back), z, max_height=room,
                       density=rng.uniform(8, 40))
    return []


def shelf(rng, palette) -> list[Mesh]:
    """A bookcase or a storage rack, filled."""
    width, depth, height = rng.uniform([0.5, 0.22, 0.8], [1.8, 0.5, 2.2])
    board, wood = rng.uniform(0.015, 0.03), palette.any('wood', 'wood', 'metal')
    rack = rng.random() < 0.3
    parts = [] if rack else [block(0, depth / 2 - 0.006, 0, (width, 0.012, height), palette('wood'))]
    for side in (-1, 1):
        x = side * (width / 2 - board / 2)
        parts += ([block(x, sy * (depth / 2 - 0.02), 0, (0.03, 0.03, height), wood)
                   for sy in (-1, 1)] if rack else [block(x, 0, 0, (board, depth, height), wood)])
    levels = np.linspace(rng.uniform(0.03, 0.15), height - board,
                         max(2, int(height / rng.uniform(0.28, 0.45)) + 1))
    columns = np.linspace(-width / 2 + board, width / 2 - board, 1 + max(1, int(width / 0.7)))
    for x in columns[1:-1]:
        parts.append(block(x, 0, levels[0], (board, depth, height - levels[0]), wood))
    for z, above in zip(levels, np.append(levels[1:], levels[-1] + 0.35)):
        parts.append(block(0, 0, z, (width - 2 * board, depth, board), wood))
        for x0, x1 in zip(columns[:-1], columns[1:]):
            parts += _shelf_contents(rng, palette, x0 + board, x1 - board, -depth / 2 + 0.02,
                                     depth / 2 - 0.02, z + board, above - z - board - 0.02)
    return parts


def drawers(rng, palette, size=None, with_things=True) -> list[Mesh]:
    """A cabinet with drawers or doors, and their grooves and handles."""
    size = rng.uniform([0.4, 0.35, 0.4], [1.6, 0.6, 1.2]) if size is None else size
    width, depth, height = size
    wood, front, metal = palette('wood'), palette('wood'), palette('metal')
    columns, rows = max(1, round(width / rng.uniform(0.4, 0.8))), int(rng.integers(1, 5))
    parts = [block(0, 0.01, 0, (width, depth - 0.02, height), wood)]
    step_x, step_z = width / columns, (height - 0.08) / rows
    for i in range(columns):
        for j in range(rows):
            x, z = -width / 2 + (i + 0.5) * step_x, 0.06 + j * step_z
            parts += [block(x, -depth / 2 + 0.01, z, (step_x - .008, .02, step_z - .008), front),
                      block(x, -depth / 2 - 0.012, z + step_z * 0.6, (0.12, 0.02, 0.012), metal)]
    if with_things:
        parts += clutter(rng, palette, (-width / 2, -depth / 2), (width / 2, depth / 2), height,
                         max_height=0.6, density=rng.choice([0, 4, 12]))
    return parts


def wardrobe(rng, palette) -> list[Mesh]:
    size = rng.uniform([0.8, 0.5, 1.7], [2.2, 0.65, 2.25])
    return drawers(rng, palette, size, with_things=False)


def sofa(rng, palette) -> list[Mesh]:
    """An armchair or a sofa, with cushions."""
    seats = int(rng.integers(1, 4))
    width, depth = 0.35 + seats * rng.uniform(0.55, 0.75), rng.uniform(0.75, 1.0)
    seat, top, arm = rng.uniform(0.38, 0.48), rng.uniform(0.7, 0.95), rng.uniform(0.1, 0.22)
    cover = palette('fabric')
    parts = [block(0, 0.02, 0.06, (width, depth - 0.04, seat - 0.18), cover),
             block(0, depth / 2 - 0.11, 0.06, (width, 0.22, top - 0.06), cover)]
    parts += _legs(rng, width, depth, 0.06, palette('wood'), 0.05)
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
    width, length, height = rng.choice([0.9, 1.4, 1.8]), rng.uniform(1.95, 2.15), rng.uniform(.4, .6)
    wood, linen = palette('wood'), palette('fabric')
    parts = [block(0, 0, 0.15, (width, length, 0.12), wood),
             block(0, 0, 0.25, (width - 0.04, length - 0.06, height - 0.25), palette('fabric')),
             block(0, length / 2 - 0.02, 0, (width, 0.04, rng.uniform(0.6, 1.1)), wood),
             _blanket(rng, width + 0.06, length * rng.uniform(0.6, 0.8), -length / 2 - 0.02,
                      height, linen)]
    parts += _legs(rng, width, length, 0.16, wood)
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


def bin_(rng, palette) -> list[Mesh]:
    """An open box, bin or crate with things in it, as robots pick from."""
    width, depth, height = rng.uniform([0.25, 0.2, 0.12], [0.7, 0.5, 0.5])
    wall, stuff = 0.008, palette.any('plastic', 'carton', 'metal', 'wood')
    parts = [block(0, 0, 0, (width, depth, wall), stuff)]
    for side in (-1, 1):
        parts += [block(side * (width - wall) / 2, 0, 0, (wall, depth, height), stuff),
                  block(0, side * (depth - wall) / 2, 0, (width, wall, height), stuff)]
    fill = rng.choice([0, 1, 2, 4])
    for layer in range(int(fill)):
        parts += clutter(rng, palette, (-width / 2 + .02, -depth / 2 + .02),
                         (width / 2 - .02, depth / 2 - .02), wall + layer * 0.05,
                         max_height=height * 1.2, density=30)
    return parts


def bin_on_table(rng, palette) -> list[Mesh]:
    size = rng.uniform([0.8, 0.6, 0.6], [1.4, 0.9, 0.9])
    wood = palette.any('wood', 'metal')
    parts = [block(0, 0, size[2] - 0.03, (size[0], size[1], 0.03), wood)]
    parts += _legs(rng, *size[:2], size[2] - 0.03, palette('metal'))
    return parts + placed(bin_(rng, palette), 0, 0, size[2], rng.normal(0, 0.15))


def cartons(rng, palette) -> list[Mesh]:
    """A pile of boxes, sometimes on a pallet."""
    parts, z = [], 0.0
    if rng.random() < 0.4:
        wood, z = palette('wood'), 0.144
        for y in np.linspace(-0.35, 0.35, 5):
            parts.append(block(0, y, 0.122, (1.2, 0.1, 0.022), wood))
        for x in (-0.53, 0, 0.53):
            parts.append(block(x, 0, 0, (0.12, 0.8, 0.122), wood))
    for _ in range(int(rng.integers(1, 4))):
        size = rng.uniform([0.25, 0.2, 0.15], [0.6, 0.5, 0.5])
        parts += placed([block(0, 0, 0, size, palette('carton'))], *rng.normal(0, 0.05, 2), z,
                        rng.normal(0, 0.2))
        z += size[2]
    return parts


def floor_lamp(rng, palette) -> list[Mesh]:
    height, radius = rng.uniform(1.2, 1.8), rng.uniform(0.12, 0.25)
    shade = Material(palette('fabric').texture, 0.3, 0.0, rng.uniform(0, 1.2))
    return [cylinder(0, 0, 0, 0.14, 0.03, palette('metal')),
            cylinder(0, 0, 0, 0.012, height, palette('metal'), segments=8),
            lathe([(radius, height - 0.2), (radius * rng.uniform(.5, 1), height + 0.1)], shade,
                  segments=20)]


def big_plant(rng, palette) -> list[Mesh]:
    return potted_plant(rng, palette, rng.uniform(1.8, 4.0))


def appliance(rng, palette) -> list[Mesh]:
    """A fridge, an oven or a washing machine: a smooth block with a door and a window."""
    width, depth, height = 0.6, 0.6, rng.choice([0.85, 0.85, 1.4, 1.9])
    body, front = palette.any('metal', 'ceramic', 'plastic'), palette.any('metal', 'ceramic')
    parts = [block(0, 0, 0, (width, depth, height), body),
             block(0, -depth / 2 - 0.01, 0.06, (width - 0.01, 0.02, height * 0.8), front),
             block(width * 0.4, -depth / 2 - 0.04, height * 0.5, (0.025, 0.03, 0.3), palette('metal'))]
    if rng.random() < 0.5:
        parts.append(block(0, -depth / 2 - 0.022, height * 0.3, (0.38, 0.006, 0.3),
                           palette.any('screen', 'plastic')))
    return parts


def counter(rng, palette) -> list[Mesh]:
    """A kitchen run: cupboards below a worktop, sometimes cupboards above."""
    width = rng.uniform(1.2, 3.0)
    parts = drawers(rng, palette, (width, 0.58, 0.86), with_things=False)
    parts += [block(0, 0, 0.86, (width + 0.02, 0.62, 0.04), palette.any('wood', 'ceramic'))]
    parts += clutter(rng, palette, (-width / 2, -0.3), (width / 2, 0.3), 0.9, max_height=0.45,
                     density=rng.uniform(4, 14))
    if rng.random() < 0.6:
        parts += placed(drawers(rng, palette, (width, 0.34, 0.65), False), 0, 0.13, 1.45)
    return parts


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
