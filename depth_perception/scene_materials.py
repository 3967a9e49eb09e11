"""The stuff one room is made of: a few woods, cloths, metals, prints that its things share."""
from __future__ import annotations

from . import scene_prints as prints
from . import scene_textures as textures
from .scene_shapes import Material
from .scene_textures import colour

_ANYTHING = (textures.plaster, textures.stripes, textures.checker, textures.dots,
             textures.camouflage, textures.speckles, textures.fabric)


def _any_of(rng, makers, base):
    return makers[int(rng.integers(len(makers)))](rng, base)


def _wood(rng) -> Material:
    if rng.random() < 0.3:  # lacquer or laminate
        base = colour(rng, (0, 0.6), (0.15, 1)) if rng.random() < 0.5 else colour(
            rng, (0, 0.06), (0.8, 1))
        return Material(textures.plaster(rng, base), rng.uniform(0.5, 1.5), rng.uniform(0, 0.5))
    base = colour(rng, (0.2, 0.65), (0.2, 0.85), hue=0.075)
    maker = textures.planks if rng.random() < 0.15 else textures.wood
    return Material(maker(rng, base), rng.uniform(0.4, 1.2), rng.uniform(0, 0.5))


def _fabric(rng) -> Material:
    base = colour(rng, (0, 0.8 if rng.random() < 0.3 else 0.35), (0.1, 0.95))
    makers = (textures.fabric, textures.fabric, textures.carpet, textures.plaster,
              textures.stripes, textures.dots, textures.checker, textures.camouflage)
    return Material(_any_of(rng, makers, base), rng.uniform(0.15, 0.7))


def _metal(rng) -> Material:
    base = colour(rng, (0, 0.12), (0.1, 0.85))
    return Material(textures.brushed(rng, base), rng.uniform(0.2, 0.6), rng.uniform(0.2, 0.8))


def _plastic(rng) -> Material:
    base = colour(rng, (0, 0.95), (0.05, 1)) if rng.random() < 0.6 else colour(
        rng, (0, 0.1), (0.02, 0.95))
    return Material(textures.plaster(rng, base)[:64, :64].copy(), 0.5, rng.uniform(0, 0.8))


def _ceramic(rng) -> Material:
    base = colour(rng, (0, 0.3), (0.75, 1)) if rng.random() < 0.5 else colour(rng, (0, 0.9))
    picture = (_any_of(rng, _ANYTHING, base) if rng.random() < 0.3
               else textures.plaster(rng, base)[:64, :64].copy())
    return Material(picture, rng.uniform(0.08, 0.3), rng.uniform(0.2, 0.9))


def _carton(rng) -> Material:
    base = colour(rng, (0.25, 0.5), (0.45, 0.85), hue=0.09)
    picture = textures.plaster(rng, base)
    if rng.random() < 0.6:
        tape = int(rng.integers(100, 140))
        picture[tape:tape + int(rng.integers(8, 30))] = colour(rng, (0.1, 0.4), (0.5, 0.9), 0.1)
    for _ in range(int(rng.integers(0, 4))):
        prints.write(picture, rng, rng.integers(10, 200, 2), rng.uniform(12, 40),
                     colour(rng, (0, 1), (0, 0.4)))
    return Material(picture, 0.0)


def _wall(rng) -> Material:
    pale = colour(rng, (0, 0.25), (0.6, 1))
    kind = rng.random()
    if kind < 0.55:
        return Material(textures.plaster(rng, pale), rng.uniform(0.8, 3))
    if kind < 0.65:
        return Material(textures.concrete(rng, colour(rng, (0, 0.15), (0.4, 0.8))), 2.0)
    if kind < 0.75:
        base = colour(rng, (0.1, 0.6), (0.3, 0.8), hue=rng.choice([0.03, 0.08]))
        return Material(textures.bricks(rng, base), rng.uniform(0.5, 1.0))
    makers = (textures.stripes, textures.dots, textures.tiles, textures.planks,
              textures.plaster, textures.camouflage)
    return Material(_any_of(rng, makers, colour(rng, (0, 0.6), (0.25, 1))), rng.uniform(0.5, 2))


def _floor(rng) -> Material:
    kind = rng.random()
    if kind < 0.4:
        base = colour(rng, (0.15, 0.65), (0.2, 0.85), hue=0.075)
        return Material(textures.planks(rng, base), rng.uniform(0.6, 1.8), rng.uniform(0, 0.5))
    makers = (textures.tiles, textures.tiles, textures.carpet, textures.concrete,
              textures.speckles, textures.marble, textures.plaster, textures.checker)
    return Material(_any_of(rng, makers, colour(rng, (0, 0.4), (0.15, 0.95))),
                    rng.uniform(0.5, 2.0), rng.uniform(0, 0.5))


def _ceiling(rng) -> Material:
    base = colour(rng, (0, 0.1), (0.75, 1))
    maker = textures.tiles if rng.random() < 0.3 else textures.plaster
    return Material(maker(rng, base), rng.uniform(0.6, 2.4))


def _leaf(rng) -> Material:
    base = colour(rng, (0.35, 0.8), (0.15, 0.6), hue=0.3)
    return Material(textures.fabric(rng, base)[:64, :64].copy(), 0.2, rng.uniform(0, 0.4))


def _print(maker, emission=(0.0, 0.0), gloss=(0.0, 0.4)):
    """A recipe for something printed that is stretched over a face once."""
    return lambda rng: Material(maker(rng), 0.0, rng.uniform(*gloss), rng.uniform(*emission))


# Name of the stuff -> how many kinds of it one room has, and how to make one.
RECIPES = {
    'wood': (4, _wood), 'fabric': (5, _fabric), 'metal': (3, _metal), 'plastic': (8, _plastic),
    'ceramic': (4, _ceramic), 'carton': (3, _carton), 'wall': (2, _wall), 'floor': (1, _floor),
    'ceiling': (1, _ceiling), 'leaf': (2, _leaf),
    'page': (2, _print(prints.page)), 'poster': (3, _print(prints.poster)),
    'label': (8, _print(prints.label)), 'spine': (14, _print(prints.spine)),
    'screen': (2, _print(prints.screen, (0.3, 1.0))),
    'keyboard': (1, _print(prints.keyboard)),
    'outdoors': (1, _print(prints.outdoors, (0.8, 2.5), (0, 0))),
    'rug': (2, lambda rng: Material(_any_of(rng, _ANYTHING, colour(rng, (0, 0.8))), 0.0)),
    'glow': (1, lambda rng: Material(
        textures.to_image(colour(rng, (0, 0.25), (0.95, 1))).reshape(1, 1, 3), 1.0, 0.0,
        rng.uniform(0.8, 2.5))),
}


class Palette:
    """Gives materials by name; each kind is made when first needed and then used again."""

    def __init__(self, rng, recipes=RECIPES):
        self.rng, self._recipes = rng, recipes
        self._pools: dict[str, list[Material]] = {name: [] for name in recipes}

    def __call__(self, name: str) -> Material:
        """A material of the room, one of `RECIPES`."""
        count, recipe = self._recipes[name]
        pool = self._pools[name]
        choice = int(self.rng.integers(count))
        if choice >= len(pool):
            pool.append(recipe(self.rng))
            return pool[-1]
        return pool[choice]

    def any(self, *names: str) -> Material:
        """A material of one of the named sorts."""
        return self(names[int(self.rng.integers(len(names)))])
