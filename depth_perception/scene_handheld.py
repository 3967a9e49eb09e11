"""Things that a hand or a gripper takes: packed goods, books, bags, bottles, tools, toys.

Origin: middle of the underside, upright.
"""
from __future__ import annotations

import numpy as np

from .scene_clutter import SMALL
from .scene_materials import Palette
from .scene_mesh import Mesh, bounds
from .scene_objects import bottle, can, cup, packet
from .scene_packaging import fine
from .scene_shapes import Material, ball, block, box, cylinder, lathe, placed, plain, sheet


def turned(meshes, turn: np.ndarray, scale: float = 1.0) -> list[Mesh]:
    """Scale, turn by a (3, 3) matrix, then set on z = 0 with the middle at the origin."""
    transform = np.eye(4)
    transform[:3, :3] = scale * turn
    moved = [mesh.moved(transform) for mesh in meshes]
    low, high = bounds(moved)
    return placed(moved, *(-(low + high)[:2] / 2), -float(low[2]))


def rotation(axis: int, angle: float) -> np.ndarray:
    """(3, 3) turn about x, y or z, radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    matrix, (i, j) = np.eye(3), ((1, 2), (2, 0), (0, 1))[axis]
    matrix[[i, i, j, j], [i, j, i, j]] = cos, -sin, sin, cos
    return matrix


def tube(points, radii, material: Material, segments: int = 9) -> Mesh:
    """A round bar along (n, 3) points with a radius at each; its ends are drawn together."""
    points, radii = np.asarray(points, float), np.asarray(radii, float)
    along = np.gradient(points, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    points, along = (np.concatenate([each[:1], each, each[-1:]]) for each in (points, along))
    radii = np.concatenate([[1e-4], radii, [1e-4]])
    helper = np.eye(3)[int(np.argmin(np.abs(along).max(axis=0)))]
    across = np.cross(along, helper)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    angle = np.linspace(0, 2 * np.pi, segments)
    ring = (across[:, None] * np.cos(angle)[:, None]
            + np.cross(along, across)[:, None] * np.sin(angle)[:, None])
    return sheet(points[:, None] + radii[:, None, None] * ring, material)


def _faces(whole: Mesh, numbers, material: Material) -> Mesh:
    """Some faces of a box in a print of their own."""
    rows = np.ravel([[2 * n, 2 * n + 1] for n in numbers])
    return Mesh(whole.vertices, whole.triangles[rows], whole.uv[rows], material.texture,
                material.emission, material.gloss)


def product(rng, palette: Palette, size=None) -> list[Mesh]:
    """A printed box: a front, a back like it, and sides with small print."""
    size = rng.uniform([0.05, 0.025, 0.06], [0.22, 0.1, 0.3]) if size is None else size
    whole = block(0, 0, 0, size, palette('side'))
    face = palette.any('front', 'front', 'cover')
    return [_faces(whole, (0, 2), face),
            _faces(whole, (1, 3, 4, 5), palette.any('side', 'side', 'carton', 'plastic'))]


def plain_box(rng, palette) -> list[Mesh]:
    """A box of one colour, as brown or coloured cartons are."""
    size = rng.uniform([0.05, 0.05, 0.04], [0.22, 0.18, 0.2])
    return [block(0, 0, 0, size, fine(palette, 'carton', 'plastic', 'label', 'fabric'))]


def hardback(rng, palette, height=None) -> list[Mesh]:
    """A book that stands, its back to -y and its covers to the sides."""
    thick, deep = rng.uniform([0.006, 0.11], [0.045, 0.2])
    height = rng.uniform(0.16, 0.3) if height is None else height
    front, t = palette('cover'), 0.0015
    leaves = plain(rng.uniform([205, 195, 170], [245, 242, 235]))
    body = box((-thick / 2 + t, -deep / 2 + t, 0.002), (thick / 2 - t, deep / 2 - 0.003,
                                                         height - 0.002), leaves)
    covers = [_faces(box((x - t / 2, -deep / 2, 0), (x + t / 2, deep / 2, height), front),
                     range(6), front) for x in (-thick / 2 + t / 2, thick / 2 - t / 2)]
    back = box((-thick / 2, -deep / 2, 0), (thick / 2, -deep / 2 + t, height), palette('title'))
    return [body, *covers, back]


def squeeze_bottle(rng, palette) -> list[Mesh]:
    """A bottle for washing up, sauce or cleaning: flat or round, with a spout."""
    radius, height = rng.uniform(0.025, 0.05), rng.uniform(0.13, 0.29)
    flat, neck = rng.uniform(0.5, 1.0), rng.uniform(0.25, 0.6)
    waist = rng.uniform(0.75, 1.05)
    body = lathe([(0, 0), (radius * 0.9, 0), (radius, height * 0.06),
                  (radius * waist, height * 0.45), (radius, height * 0.68),
                  (radius * neck, height * 0.82), (0, height * 0.82)],
                 palette.any('plastic', 'plastic', 'front'))
    print_ = lathe([(radius * waist * 1.02, height * 0.12), (radius * 1.02, height * 0.6)],
                   palette.any('front', 'label', 'label'))
    cap = lathe([(0, height * 0.8), (radius * neck * 1.1, height * 0.8),
                 (radius * neck, height * 0.92), (radius * 0.16, height * 0.94),
                 (radius * 0.13, height), (0, height)], palette('plastic'))
    return turned([body, print_, cap], np.diag([1, flat, 1]))


def pens(rng, palette) -> list[Mesh]:
    """Pens, straws or tubes that lie side by side."""
    radius, length = rng.uniform(0.003, 0.012), rng.uniform(0.12, 0.26)
    stuff = [palette.any('plastic', 'wood', 'metal', 'label')
             for _ in range(int(rng.integers(1, 4)))]
    parts = []
    for k in range(int(rng.integers(2, 9))):
        x = (k - 3) * 2.05 * radius
        shift = rng.normal(0, 0.004)
        parts.append(tube([(x, shift - length / 2, radius), (x, shift + length / 2, radius)],
                          [radius, radius], stuff[k % len(stuff)], segments=7))
    return turned(parts, np.eye(3))


def bag(rng, palette) -> list[Mesh]:
    """A filled bag or pouch that lies on its side."""
    width, length = rng.uniform([0.08, 0.1], [0.2, 0.28])
    thick, count = rng.uniform(0.015, 0.06), 9
    s = np.linspace(-1, 1, count)
    x, y = np.meshgrid(s * width / 2, s * length / 2)
    bulge = np.sqrt(np.maximum((1 - s[None] ** 4) * (1 - s[:, None] ** 4), 0))
    lumps = _soft_noise(rng, count) * bulge * thick * 0.15
    material = palette.any('wrapper', 'wrapper', 'film', 'plastic')
    top = np.stack([x, y, thick * (0.5 + 0.5 * bulge) + lumps], axis=-1)
    bottom = np.stack([x, y, thick * (0.5 - 0.5 * bulge)], axis=-1)
    return turned([sheet(top[::-1], material), sheet(bottom, material)], np.eye(3))


def _soft_noise(rng, count: int) -> np.ndarray:
    """(count, count) noise without steps."""
    noise = rng.normal(0, 1, (count + 2, count + 2))
    return (noise[:-2, 1:-1] + noise[2:, 1:-1] + noise[1:-1, :-2] + noise[1:-1, 2:]
            + 2 * noise[1:-1, 1:-1]) / 3


def fruit(rng, palette) -> list[Mesh]:
    """A fruit or vegetable: round, long, or bent like a banana."""
    stuff = palette.any('plastic', 'fruit', 'fruit')
    if rng.random() < 0.5:
        radius = rng.uniform(0.022, 0.055)
        whole = [ball(0, 0, radius, radius, stuff, segments=14)]
        return turned(whole, np.diag([1, 1, rng.uniform(0.8, 1.25)]))
    bend, radius = rng.uniform(0, 1.6), rng.uniform(0.013, 0.022)
    angle = np.linspace(-1, 1, 9) * max(bend, 0.05)
    reach = rng.uniform(0.05, 0.1) / max(bend, 0.05)
    points = np.column_stack([reach * np.sin(angle), reach * np.cos(angle), np.zeros(9)])
    radii = radius * np.array([0.3, 0.75, 0.95, 1, 1, 1, 0.95, 0.7, 0.3])
    return turned([tube(points, radii, stuff)], np.eye(3))


def ring(rng, palette) -> list[Mesh]:
    """A roll of tape."""
    outer, width = rng.uniform(0.025, 0.06), rng.uniform(0.015, 0.06)
    inner = outer * rng.uniform(0.5, 0.85)
    return [lathe([(inner, 0), (outer, 0), (outer, width), (inner, width), (inner, 0)],
                  palette.any('plastic', 'carton', 'label'), segments=24)]


def plush(rng, palette) -> list[Mesh]:
    """A stuffed animal that sits."""
    size, stuff = rng.uniform(0.03, 0.065), palette('fabric')
    other = palette('fabric')
    parts = [ball(0, 0, size, size, stuff, segments=12),
             ball(0, -size * 0.2, size * 2.3, size * 0.75, stuff, segments=12)]
    for side in (-1, 1):
        parts += [ball(side * size * 0.55, -size * 0.1, size * 2.95, size * 0.28, other,
                       segments=8),
                  ball(side * size, -size * 0.6, size * 0.4, size * 0.38, stuff, segments=8),
                  ball(side * size * 0.95, -size * 0.4, size * 1.4, size * 0.33, stuff,
                       segments=8)]
    return turned(parts, np.eye(3))


def power_tool(rng, palette) -> list[Mesh]:
    """A drill that stands on its battery."""
    scale, shell, dark = rng.uniform(0.7, 1.1), palette('plastic'), palette('foam')
    parts = [block(0, -0.02, 0, (0.075, 0.11, 0.05), dark),
             block(0, 0.005, 0.05, (0.034, 0.045, 0.1), shell),
             tube([(0, 0.06, 0.175), (0, -0.08, 0.175)], [0.032, 0.034], shell),
             tube([(0, -0.08, 0.175), (0, -0.125, 0.175)], [0.022, 0.014], dark),
             tube([(0, -0.125, 0.175), (0, -0.165, 0.175)], [0.004, 0.004], palette('metal'))]
    return turned(parts, np.eye(3), scale)


def scissors(rng, palette) -> list[Mesh]:
    """Scissors or pliers that lie, more or less open."""
    length, opening = rng.uniform(0.06, 0.12), rng.uniform(0.05, 0.4)
    grip, steel, parts = palette('plastic'), palette('metal'), []
    for side in (-1, 1):
        angle = np.linspace(0, 2 * np.pi, 12)
        loop = np.column_stack([0.018 * np.cos(angle) + side * 0.02,
                                0.026 * np.sin(angle) - 0.06, np.full(12, 0.006)])
        blade = tube([(side * 0.008, -0.035, 0.006), (0, 0, 0.006),
                      (-side * 0.004, length, 0.006)], [0.005, 0.007, 0.002], steel, segments=6)
        parts += placed([tube(loop, np.full(12, 0.0055), grip, segments=6), blade],
                        yaw=side * opening)
    return turned(parts, np.eye(3))


def cable(rng, palette) -> list[Mesh]:
    """A wire that lies in loops."""
    t = np.linspace(0, rng.uniform(4, 14), 40)
    size = rng.uniform(0.03, 0.07) * (1 + 0.25 * np.sin(t * rng.uniform(0.5, 1.7)))
    radius = rng.uniform(0.002, 0.005)
    points = np.column_stack([size * np.cos(t), size * np.sin(t) * 0.8,
                              radius + 0.0012 * t])
    return turned([tube(points, np.full(40, radius), palette('plastic'), segments=6)], np.eye(3))


def sponge(rng, palette) -> list[Mesh]:
    """Two layers of soft stuff, or a bar of soap."""
    size = rng.uniform([0.05, 0.07, 0.01], [0.1, 0.15, 0.035])
    return [block(0, 0, 0, size, fine(palette, 'fabric', 'plastic')),
            block(0, 0, size[2], (*size[:2], size[2] * rng.uniform(0.1, 0.5)),
                  fine(palette, 'fabric', 'foam'))]


def bar(rng, palette) -> list[Mesh]:
    """A profile or a wooden brick."""
    size = rng.uniform([0.015, 0.015, 0.05], [0.05, 0.06, 0.25])
    return [block(0, 0, 0, size, fine(palette, 'metal', 'wood', 'plastic'))]


def tin(rng, palette) -> list[Mesh]:
    """A tin, a jar or a drum with a printed side and a rim."""
    radius, height = rng.uniform(0.03, 0.055), rng.uniform(0.05, 0.16)
    steel = palette.any('metal', 'plastic')
    return [cylinder(0, 0, 0.002, radius, height - 0.004, palette.any('front', 'label', 'side'),
                     segments=24),
            lathe([(0, 0), (radius, 0), (radius, 0.004)], steel, segments=24),
            lathe([(radius * 1.02, height - 0.005), (radius * 1.02, height),
                   (radius * 0.93, height), (radius * 0.92, height - 0.004),
                   (0, height - 0.003)], steel, segments=24)]


PACKED = (product, product, product, product, plain_box, squeeze_bottle, bottle, tin, tin, can)
LOOSE = (bag, bag, pens, fruit, ring, plush, power_tool, scissors, cable, sponge, bar, hardback,
         cup, packet)


def thing(rng, palette, size: float, height: float, *, lying: float = 0.3,
          tilt: float = 0.0) -> list[Mesh]:
    """Something by chance as it comes to stand or lie, turned any way.

    size, height : metres that its footprint's longer side and its height must not pass.
    lying : how often it lies on a side.
    tilt : deviation in radians by which it is askew, as in a heap.
    """
    for _ in range(6):
        group = (PACKED, LOOSE, SMALL)[int(rng.choice(3, p=[0.45, 0.4, 0.15]))]
        made = group[int(rng.integers(len(group)))](rng, palette)
        turn = rotation(2, rng.uniform(0, 2 * np.pi))
        if rng.random() < lying:
            turn = turn @ rotation(int(rng.integers(2)), np.pi / 2)
        if tilt:
            turn = rotation(0, rng.normal(0, tilt)) @ rotation(1, rng.normal(0, tilt)) @ turn
        posed = turned(made, turn, float(rng.uniform(0.75, 1.25)))
        low, high = bounds(posed)
        if max((high - low)[:2]) < size and high[2] < height:
            return posed
    small = np.minimum(rng.uniform([0.03, 0.02, 0.03], [0.12, 0.1, 0.1]),
                       [0.8 * size, 0.8 * size, 0.8 * height])
    return turned(product(rng, palette, small), rotation(2, rng.uniform(-0.3, 0.3)))
