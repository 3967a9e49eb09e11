"""Things come to rest on what is under them: heights by hand."""
from __future__ import annotations

import numpy as np
import open3d as o3d
import pytest

from depth_perception.scene_handheld import (
    LOOSE,
    PACKED,
    hardback,
    product,
    rotation,
    thing,
    tube,
    turned,
)
from depth_perception.scene_heap import CELL, Heap, footprint
from depth_perception.scene_materials import Palette
from depth_perception.scene_mesh import bounds
from depth_perception.scene_packaging import CLOSE_RECIPES
from depth_perception.scene_shapes import ball, block, plain

GREY = plain((128, 128, 128))


@pytest.fixture
def rng():
    return np.random.default_rng(7)


@pytest.fixture(scope='module')
def palette():
    return Palette(np.random.default_rng(5), CLOSE_RECIPES)


def brick(size):
    return [block(0, 0, 0, size, GREY)]


def test_a_brick_rests_on_the_surface_and_a_second_one_on_the_first(rng):
    heap = Heap(rng, (-0.05, -0.05), (0.05, 0.05), 0.7)
    assert heap.put(brick((0.08, 0.08, 0.04)), at=(0, 0), spread=0.0)
    assert heap.put(brick((0.08, 0.08, 0.03)), on_top=True, at=(0, 0), spread=0.0)
    np.testing.assert_allclose([box[0][2] for box in heap.boxes], [0.7, 0.74], atol=1e-6)


def test_what_may_not_lie_on_top_finds_no_place_on_a_full_surface(rng):
    heap = Heap(rng, (-0.05, -0.05), (0.05, 0.05), 0.0)
    assert heap.put(brick((0.08, 0.08, 0.04)))
    assert not heap.put(brick((0.05, 0.05, 0.02)), tries=30)
    assert len(heap.boxes) == 1


def test_a_board_stays_on_a_brick_under_its_middle_and_not_on_one_under_its_end(rng):
    for x, stays in ((0.0, True), (0.07, False)):
        heap = Heap(rng, (-0.15, -0.1), (0.15, 0.1), 0.0)
        heap.put(brick((0.04, 0.04, 0.05)), at=(x, 0), spread=0.0)
        board = brick((0.2, 0.06, 0.01))
        assert heap.put(board, on_top=True, at=(0, 0), spread=0.0) == stays
        assert stays or heap.put(board, on_top=True, leaning=True, at=(0, 0), spread=0.0)


def test_a_ball_in_a_corner_of_two_bricks_is_as_high_as_geometry_has_it(rng):
    # Bricks leave a slot of 2a; a ball of radius r sinks until its rim at a touches their edges.
    heap, a, r = Heap(rng, (-0.15, -0.1), (0.15, 0.1), 0.0), 0.03, 0.05
    for side in (-1, 1):
        heap.put(brick((0.08, 0.18, 0.06)), at=(side * (a + 0.04), 0), spread=0.0)
    heap.put([ball(0, 0, r, r, GREY, segments=60)], on_top=True, leaning=True, at=(0, 0),
             spread=0.0)
    expected = 0.06 + np.sqrt(r * r - a * a) - r
    assert heap.boxes[-1][0][2] == pytest.approx(expected, abs=CELL)


def test_nothing_lies_outside_or_above_the_limit(rng, palette):
    heap = Heap(rng, (-0.2, -0.15), (0.2, 0.15), 0.3)
    for _ in range(40):
        heap.put(thing(rng, palette, 0.2, 0.2), on_top=True, leaning=True, below=0.55)
    low, high = bounds(heap.meshes)
    assert len(heap.boxes) > 5
    assert np.all(low[:2] >= [-0.2 - CELL, -0.15 - CELL])
    assert np.all(high[:2] <= [0.2 + CELL, 0.15 + CELL])
    assert low[2] > 0.3 - 1e-5 and high[2] < 0.55 + 1e-5


def distances(thing_meshes, others) -> np.ndarray:
    """Metres from points of a thing to the nearest surface of others, by Open3D."""
    caster = o3d.t.geometry.RaycastingScene()
    for mesh in others:
        caster.add_triangles(o3d.core.Tensor(np.ascontiguousarray(mesh.vertices)),
                             o3d.core.Tensor(mesh.triangles.astype(np.uint32)))
    corners = np.concatenate([mesh.vertices[mesh.triangles] for mesh in thing_meshes])
    weights = np.random.default_rng(0).dirichlet([1, 1, 1], 20)
    points = np.einsum('kc,tcd->tkd', weights, corners).reshape(-1, 3)
    points = np.concatenate([points, corners.reshape(-1, 3)])
    return caster.compute_distance(o3d.core.Tensor(points.astype(np.float32))).numpy()


def test_each_thing_of_a_heap_touches_what_is_under_it(rng, palette):
    heap, floor = Heap(rng, (-0.2, -0.15), (0.2, 0.15), 0.0), block(0, 0, -0.02, (1, 1, .02), GREY)
    for _ in range(25):
        before = len(heap.meshes)
        made = thing(rng, palette, 0.2, 0.2, lying=0.6, tilt=0.2)
        if heap.put(made, on_top=True, leaning=True):
            gap = distances(heap.meshes[before:], [floor, *heap.meshes[:before]]).min()
            assert gap < 1.5 * CELL  # the diagonal of a cell, and a bit
    assert len(heap.boxes) > 10


def test_a_thing_that_is_too_large_is_refused(rng):
    assert not Heap(rng, (0, 0), (0.1, 0.1), 0.0).put(brick((0.2, 0.05, 0.05)))


def test_a_footprint_has_the_area_and_the_heights_of_the_brick(rng):
    cover = footprint(rng, brick((0.12, 0.06, 0.05)))
    assert len(cover.rows) * CELL ** 2 == pytest.approx(0.12 * 0.06, rel=0.35)
    assert cover.bottom.min() == 0 and cover.top.max() == pytest.approx(0.05)


@pytest.mark.parametrize('maker', {*PACKED, *LOOSE}, ids=lambda maker: maker.__name__)
def test_everything_a_gripper_takes_stands_on_zero_and_fits_a_hand(maker, palette):
    for seed in range(4):
        low, high = bounds(maker(np.random.default_rng(seed), palette))
        assert abs(low[2]) < 1e-3 and 0.02 < (high - low).max() < 0.4
        np.testing.assert_allclose((low + high)[:2], 0, atol=0.12)


def test_a_box_with_two_prints_has_the_surface_of_one(rng, palette):
    area = sum(np.linalg.norm(np.cross(*(np.diff(c, axis=0))), axis=-1) / 2
               for mesh in product(rng, palette, (0.1, 0.2, 0.3))
               for c in mesh.vertices[mesh.triangles].astype(float))
    assert area == pytest.approx(2 * (0.1 * 0.2 + 0.1 * 0.3 + 0.2 * 0.3))


def test_a_book_is_as_high_as_asked_and_leans_by_the_angle_asked(rng, palette):
    book = hardback(rng, palette, 0.25)
    low, high = bounds(book)
    thick = float((high - low)[0])
    leaning = bounds(turned(book, rotation(1, 0.3)))
    assert high[2] - low[2] == pytest.approx(0.25, abs=1e-6)
    np.testing.assert_allclose((leaning[1] - leaning[0])[[0, 2]],
                               [0.25 * np.sin(0.3) + thick * np.cos(0.3),
                                0.25 * np.cos(0.3) + thick * np.sin(0.3)], atol=1e-5)


def test_a_tube_keeps_its_radius_round_its_line():
    mesh = tube([(0, 0, 0), (0, 0, 1)], [0.1, 0.1], GREY, segments=33)
    radius = np.hypot(*mesh.vertices[:, :2].T)
    assert radius.max() == pytest.approx(0.1, abs=1e-6)
    np.testing.assert_allclose(np.unique(np.round(radius, 4)), [0.0001, 0.1], atol=1e-4)
