"""Scenes: exact depth against hand computation, textures on the right squares, safe cameras."""
from __future__ import annotations

import functools
import hashlib

import numpy as np
import pytest

from depth_perception.geometry import Intrinsics, project, unproject
from depth_perception.scene_atlas import TextureAtlas
from depth_perception.scene_clutter import SMALL
from depth_perception.scene_layout import AGAINST_WALLS, FREE_STANDING
from depth_perception.scene_materials import Palette
from depth_perception.scene_mesh import bounds
from depth_perception.scene_shapes import Material, ball, box, cylinder, plain
from depth_perception.scenes import (
    CameraEffects,
    Light,
    Mesh,
    MeshScene,
    Room,
    SceneError,
    camera_effects,
    look_at,
)

CAMERA = Intrinsics.from_hfov(96, 72, 70.0)
GREY = plain((128, 128, 128))
# One of each for all tests that look at it only: a room takes half a second.
room_of = functools.cache(Room.random)


def box_room(size=(6.0, 5.0, 3.0), material=GREY):
    """Six slabs about the inside of a room with a corner at the origin."""
    low, high = np.zeros(3), np.asarray(size)
    slabs = []
    for axis in range(3):
        for a, b in ((-0.1, 0.0), (size[axis], size[axis] + 0.1)):
            lower, upper = low - 0.1, high + 0.1
            lower[axis], upper[axis] = a, b
            slabs.append(box(lower, upper, material))
    return MeshScene(slabs, ambient=(1, 1, 1), exposure=None)


def wall(texture, distance=2.0, half=1.0):
    """One square, 2*half wide, `distance` in front of a camera at the origin that looks to +y."""
    corners = np.array([[-half, distance, half], [half, distance, half],
                        [half, distance, -half], [-half, distance, -half]], np.float32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    triangles = np.array([[0, 2, 1], [0, 3, 2]])
    return Mesh(corners, triangles, uv[triangles], texture)


def flat_scene(mesh):
    return MeshScene([mesh], ambient=(1, 1, 1), exposure=None)


FORWARD = look_at((0, 0, 0), (0, 1, 0))


@pytest.fixture(scope='module')
def room():
    return Room.random(5)


def test_a_wall_two_metres_ahead_is_two_metres_deep_in_every_pixel():
    view = box_room().render(CAMERA, look_at((3, 3, 1.5), (3, 5, 1.5)))
    on_wall = np.isclose(view.normals[..., 2], -1)
    assert on_wall.mean() > 0.5
    np.testing.assert_allclose(view.depth[on_wall], 2.0, atol=1e-5)


def test_depth_is_that_of_the_nearest_plane_found_analytically():
    size, eye = np.array([6.0, 5.0, 3.0]), np.array([2.2, 1.4, 1.1])
    pose = look_at(eye, (4.0, 4.0, 0.6), roll=0.1)
    view = box_room(size).render(CAMERA, pose)
    u, v = np.meshgrid(np.arange(96.0), np.arange(72.0))
    rays = np.stack([(u - CAMERA.cx) / CAMERA.fx, (v - CAMERA.cy) / CAMERA.fy,
                     np.ones_like(u)], -1) @ pose[:3, :3].T
    with np.errstate(divide='ignore'):
        expected = np.where(rays > 0, (size - eye) / rays, -eye / rays).min(axis=-1)
    np.testing.assert_allclose(view.depth, expected, rtol=2e-5)


def test_depth_is_along_the_axis_and_not_along_the_ray():
    view = box_room().render(CAMERA, look_at((3, 3, 1.5), (3, 5, 1.5)))
    ray_length = np.linalg.norm(unproject(view.depth, CAMERA), axis=-1)
    assert view.depth[36, 5] < ray_length[36, 5] - 0.3


def test_a_sphere_has_its_depth_and_normal_where_the_axis_meets_it():
    scene = flat_scene(ball(0, 3, 0, 1.0, GREY, segments=96))
    camera = Intrinsics(41, 41, 40.0, 40.0, 20.0, 20.0)
    view = scene.render(camera, FORWARD)
    assert view.depth[20, 20] == pytest.approx(2.0, abs=5e-3)
    np.testing.assert_allclose(view.normals[20, 20], [0, 0, -1], atol=0.05)
    assert np.isnan(view.depth[0, 0]) and np.isnan(view.normals[0, 0]).all()


def test_normals_have_unit_length_and_face_the_camera(room):
    view = room.render(CAMERA, room.random_pose(np.random.default_rng(1)))
    hit = np.isfinite(view.depth)
    assert hit.mean() > 0.99
    np.testing.assert_allclose(np.linalg.norm(view.normals[hit], axis=-1), 1, atol=1e-4)
    rays = unproject(np.ones_like(view.depth), CAMERA)
    assert np.all((view.normals * rays).sum(-1)[hit] <= 1e-4)


def test_normals_agree_with_the_slope_of_the_depth_on_planes():
    view = box_room().render(CAMERA, look_at((2, 2, 1.5), (5.5, 3.5, 0.8)))
    points = unproject(view.depth, CAMERA).astype(np.float64)
    across, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
    slope = np.cross(down, across)
    slope /= np.linalg.norm(slope, axis=-1, keepdims=True)
    inside = view.normals[1:-1, 1:-1]
    same = np.ones(inside.shape[:2], bool)
    for axis in (0, 1):
        for step in (-1, 1):
            same &= (np.roll(view.normals, step, axis)[1:-1, 1:-1] == inside).all(-1)
    assert same.mean() > 0.7
    np.testing.assert_allclose(slope[same], inside[same], atol=2e-3)


def test_points_seen_from_one_pose_land_on_the_same_surface_from_another():
    scene = box_room()
    first, second = look_at((2, 2, 1.5), (4, 4, 1)), look_at((2.6, 1.7, 1.2), (4, 4, 1.1))
    depth = scene.render(CAMERA, first).depth
    world = unproject(depth, CAMERA).reshape(-1, 3) @ first[:3, :3].T + first[:3, 3]
    local = (world - second[:3, 3]) @ second[:3, :3]
    pixel = project(local, CAMERA)
    seen = (local[:, 2] > 0) & np.all((pixel > 0) & (pixel < [95, 71]), axis=1)
    local, pixel = local[seen], pixel[seen]
    assert len(local) > 2000
    along = scene.depth_along(((pixel[None, :, 0] - CAMERA.cx) / CAMERA.fx).astype(np.float32),
                              ((pixel[None, :, 1] - CAMERA.cy) / CAMERA.fy).astype(np.float32),
                              second)[0]
    np.testing.assert_allclose(along, local[:, 2], rtol=1e-3)


def test_a_checkerboard_lands_on_the_right_squares():
    texture = np.zeros((64, 64, 3), np.uint8)
    texture[:32, :32] = (200, 0, 0)       # upper left
    texture[:32, 32:] = (0, 200, 0)       # upper right
    texture[32:, :32] = (0, 0, 200)       # lower left
    camera = Intrinsics(64, 64, 64.0, 64.0, 31.5, 31.5)    # the 2 m wall fills it at 2 m
    rgb = flat_scene(wall(texture)).render(camera, FORWARD).rgb
    for (v, u), colour in {(16, 16): (200, 0, 0), (16, 48): (0, 200, 0), (48, 16): (0, 0, 200),
                           (48, 48): (0, 0, 0)}.items():
        np.testing.assert_allclose(rgb[v, u].astype(int), colour, atol=1)
    np.testing.assert_allclose(rgb[16, 30].astype(int), (200, 0, 0), atol=1)
    np.testing.assert_allclose(rgb[16, 33].astype(int), (0, 200, 0), atol=1)


def test_a_texture_repeats_without_a_seam_of_another_texture():
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:, :4] = 200
    mesh = wall(texture)
    repeated = Mesh(mesh.vertices, mesh.triangles, mesh.uv * 4, texture)
    other = wall(np.full((8, 8, 3), 90, np.uint8), distance=5.0, half=0.1)
    camera = Intrinsics(64, 64, 64.0, 64.0, 31.5, 31.5)
    scene = MeshScene([repeated, other], ambient=(1, 1, 1), exposure=None)
    rgb = scene.render(camera, FORWARD).rgb
    expected = np.tile(np.repeat([200, 0], 8), 4)
    inner = np.tile(np.array([0, 1, 1, 1, 1, 1, 1, 0], bool), 8)
    np.testing.assert_allclose(rgb[20, inner, 0], expected[inner], atol=25)


def test_far_textures_become_their_mean_instead_of_flickering():
    fine = np.zeros((256, 256, 3), np.uint8)
    fine[::2, ::2] = fine[1::2, 1::2] = 200
    mesh = wall(fine, distance=8.0, half=1.0)
    rgb = flat_scene(mesh).render(Intrinsics(64, 64, 64.0, 64.0, 31.5, 31.5), FORWARD).rgb
    np.testing.assert_allclose(rgb[28:36, 28:36], 100, atol=6)


def test_each_part_keeps_its_own_texture():
    red = np.full((1, 1, 3), (250, 0, 0), np.uint8)
    blue = np.full((4, 4, 3), (0, 0, 250), np.uint8)
    scene = MeshScene([wall(red, 2.0, 0.5), wall(blue, 4.0, 4.0)], ambient=(1, 1, 1),
                      exposure=None)
    rgb = scene.render(Intrinsics(41, 41, 40.0, 40.0, 20.0, 20.0), FORWARD).rgb
    assert rgb[20, 20, 0] > 240 and rgb[20, 20, 2] == 0
    assert rgb[20, 3, 2] > 240 and rgb[20, 3, 0] == 0


def test_what_is_not_hit_has_the_background_and_no_depth():
    scene = MeshScene([wall(np.full((1, 1, 3), 9, np.uint8), 2.0, 0.1)], background=(1, 2, 3))
    view = scene.render(CAMERA, FORWARD)
    assert tuple(view.rgb[0, 0]) == (1, 2, 3)
    assert np.isnan(view.depth[0, 0])


def test_the_main_light_throws_a_shadow():
    floor = box((-2, -2, -0.1), (2, 2, 0), GREY)
    cube = box((-0.2, -0.2, 0.8), (0.2, 0.2, 1.0), GREY)
    scene = MeshScene([floor, cube], [Light((0, 0, 2.0), (3, 3, 3), 0.01)],
                      ambient=(0.05, 0.05, 0.05), exposure=None)
    pose = look_at((0, -2.5, 0.6), (0, 0, 0.0))
    view = scene.render(CAMERA, pose)
    world = unproject(view.depth, CAMERA) @ pose[:3, :3].T + pose[:3, 3]
    on_floor = np.abs(world[..., 2]) < 1e-3
    # By similar triangles the cube's shadow on the floor reaches 0.2 * 2 / 1 = 0.4 m.
    reach = np.abs(world[..., :2]).max(-1)
    dark, lit = view.rgb[on_floor & (reach < 0.25)], view.rgb[on_floor & (reach > 0.5)
                                                              & (reach < 0.8)]
    assert len(dark) > 10 and len(lit) > 10
    assert dark.mean() < 0.5 * lit.mean()


def test_light_falls_with_the_square_of_the_distance():
    texture = np.full((1, 1, 3), 255, np.uint8)
    camera = Intrinsics(3, 3, 100.0, 100.0, 1.0, 1.0)
    seen = [MeshScene([wall(texture, d, 3.0)], [Light((0, 0, 0), (1, 1, 1), 0.0)],
                      ambient=(0, 0, 0), exposure=None).render(camera, FORWARD).rgb[1, 1, 0]
            for d in (2.0, 4.0)]
    # The picture's values go with the root of the light: 255 / 2 and 255 / 4.
    np.testing.assert_allclose(seen, [127.5, 63.75], atol=1.5)


def test_the_same_seed_gives_the_same_bytes():
    def digest(room):
        pose = room.random_pose(np.random.default_rng(0))
        view = room.render(CAMERA, pose)
        return hashlib.sha256(b''.join(plane.tobytes() for plane in view)).hexdigest()

    assert digest(room_of(0)) == digest(Room.random(0)) != digest(room_of(1))


@pytest.mark.parametrize('kind', [None, 'walk', 'closeup', 'overview'])
def test_poses_keep_clear_of_everything_and_stand_in_the_room(room, kind):
    rng = np.random.default_rng(3)
    poses = np.array([room.random_pose(rng, kind) for _ in range(6)])
    eyes = poses[:, :3, 3]
    assert np.all(eyes > 0) and np.all(eyes < room.size)
    assert np.all(room.scene.clearance(eyes) >= 0.25)
    for low, high in room.boxes:
        assert not np.any(np.all((eyes > low) & (eyes < high), axis=1))
    for rotation in poses[:, :3, :3]:
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert rotation[2, 1] < 0     # the image's down axis points down


def test_views_reach_from_near_to_far():
    medians = []
    for seed in range(4):
        room, rng = room_of(seed), np.random.default_rng(seed)
        small = Intrinsics.from_hfov(32, 24, 63.0)
        medians += [np.nanmedian(room.render(small, room.random_pose(rng)).depth)
                    for _ in range(8)]
    assert np.quantile(medians, 0.15) < 1.3 and np.quantile(medians, 0.85) > 1.8


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_a_path_is_closed_smooth_and_free_of_collisions(seed):
    room = room_of(seed)
    poses = room.camera_path(120, seed=seed)
    eyes = poses[:, :3, 3]
    assert np.all(room.scene.clearance(eyes) >= 0.24)
    steps = np.linalg.norm(np.roll(eyes, -1, axis=0) - eyes, axis=1)
    assert steps.max() < 0.25
    turns = np.einsum('nij,nij->n', poses[:, :3, :3], np.roll(poses[:, :3, :3], -1, axis=0))
    assert np.degrees(np.arccos(np.clip((turns - 1) / 2, -1, 1))).max() < 12


def test_furniture_from_outside_is_put_into_the_room():
    violet = np.full((1, 1, 3), (200, 0, 255), np.uint8)
    cabinet = [box((-0.3, -0.2, 0), (0.3, 0.2, 0.9), Material(violet))]
    room = Room.random(2, [cabinet])
    sizes = [np.round(np.sort(high - low)[::-1], 3) for low, high in room.boxes]
    assert any(np.allclose(size, [0.9, 0.6, 0.4], atol=0.06) for size in sizes)


def test_rooms_differ_in_size_and_are_of_human_scale():
    sizes = np.array([room_of(seed).size for seed in range(4)])
    assert np.all(sizes[:, :2] >= 1.5) and np.all(sizes[:, :2] <= 14)
    assert np.all((sizes[:, 2] >= 2.3) & (sizes[:, 2] <= 4.5))
    assert np.ptp(sizes[:, 0]) > 1


@pytest.mark.parametrize('maker', sorted(
    {maker for table in (AGAINST_WALLS, FREE_STANDING) for row in table.values() for maker in row},
    key=lambda maker: maker.__name__), ids=lambda maker: maker.__name__)
def test_furniture_stands_on_the_floor_and_has_a_real_size(maker):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        low, high = bounds(maker(rng, Palette(rng)))
        assert -0.01 < low[2] < 0.1
        assert 0.1 < high[2] < 3.7 and np.all((high - low)[:2] < 3.4)
        assert np.all(np.abs((high + low)[:2]) < 0.8)       # the origin is about its middle


@pytest.mark.parametrize('maker', sorted(set(SMALL), key=lambda maker: maker.__name__),
                         ids=lambda maker: maker.__name__)
def test_small_things_lie_on_their_underside_and_fit_on_a_table(maker):
    for seed in range(3):
        rng = np.random.default_rng(seed)
        low, high = bounds(maker(rng, Palette(rng)))
        assert abs(low[2]) < 0.025 and np.all(high - low < 0.8)


def test_too_many_textures_are_made_smaller_until_they_fit():
    textures = [np.full((256, 256, 3), value, np.uint8) for value in range(8)]
    atlas = TextureAtlas(textures, max_texels=8 * 2 * 64 * 64)
    assert {(tile.width, tile.height) for tile in atlas.tiles} == {(64, 64)}
    for value, tile in enumerate(atlas.tiles):
        part = atlas.image[tile.y:tile.y + tile.height, tile.x:tile.x + tile.width]
        assert np.all(part == value)


@pytest.mark.parametrize('make', [lambda: box((0, 0, 0), (1, 2, 3), GREY),
                                  lambda: cylinder(0.5, 1, 0, 0.4, 2, GREY),
                                  lambda: ball(0, 0, 0, 1, GREY)])
def test_closed_shapes_are_wound_counter_clockwise_from_outside(make):
    mesh = make()
    corners = mesh.vertices[mesh.triangles].astype(np.float64)
    # The signed volume of a closed surface is positive where its triangles face outwards.
    volume = np.einsum('ij,ij->i', corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume > 0.5


def test_a_mirrored_mesh_still_faces_outwards():
    mesh = box((0, 0, 0), (1, 1, 1), GREY).moved(np.diag([-1.0, 1.0, 1.0, 1.0]))
    corners = mesh.vertices[mesh.triangles].astype(np.float64)
    volume = np.einsum('ij,ij->i', corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    assert volume == pytest.approx(1.0)


def test_a_perfect_camera_changes_nothing_and_a_real_one_keeps_size_and_type(room):
    rgb = room.render(CAMERA, room.camera_path(3)[0]).rgb
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(CameraEffects()(rgb, rng), rgb)
    for seed in range(8):
        seen = camera_effects(rgb, np.random.default_rng(seed))
        again = camera_effects(rgb, np.random.default_rng(seed))
        assert seen.shape == rgb.shape and seen.dtype == np.uint8
        np.testing.assert_array_equal(seen, again)
        assert not np.array_equal(seen, rgb)


def test_noise_has_the_deviation_that_was_asked_for():
    grey = np.full((200, 200, 3), 128, np.uint8)
    seen = CameraEffects(noise=4.0)(grey, np.random.default_rng(0)).astype(float)
    assert seen.std() == pytest.approx(4.0 * np.sqrt(1.2), rel=0.05)


def test_an_unknown_view_kind_names_the_known_ones(room):
    with pytest.raises(SceneError, match='walk'):
        room.random_pose(np.random.default_rng(0), 'bird')


def test_a_path_without_frames_is_refused(room):
    with pytest.raises(SceneError, match='at least 1'):
        room.camera_path(0)


def test_a_scene_without_triangles_is_refused():
    with pytest.raises(SceneError, match='no triangles'):
        MeshScene([])


@pytest.mark.parametrize('change, message', [
    ({'uv': np.zeros((2, 2), np.float32)}, 'one coordinate for each corner'),
    ({'texture': np.zeros((4, 4), np.uint8)}, '1x1 texture'),
    ({'vertices': np.zeros((4, 2), np.float32)}, r'must be \(V, 3\)'),
])
def test_a_mesh_of_wrong_shape_says_what_is_wrong(change, message):
    good = wall(np.zeros((1, 1, 3), np.uint8))
    fields = {'vertices': good.vertices, 'triangles': good.triangles, 'uv': good.uv,
              'texture': good.texture}
    with pytest.raises(SceneError, match=message):
        Mesh(**{**fields, **change})
