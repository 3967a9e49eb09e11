"""GLB worlds, furniture and rooms as training views: axes, free space, exact depth, seeds."""
from __future__ import annotations

import logging

import numpy as np
from PIL import Image
import pytest
import trimesh

from depth_perception.scenes import Mesh
from training.data import worlds
from training.data.furniture import load_furniture, stands_on_floor
from training.data.meshes import Y_UP_TO_Z_UP, load_meshes
from training.data.procedural import render_room, sensible
from training.data.root import DataError, UnreadableFile
from training.data.worlds import camera_to_world, make_world, random_eye, render_views


def box_mesh(low, high, texture=None):
    """An axis-aligned box as a Mesh, outside faces."""
    box = trimesh.creation.box(bounds=[low, high])
    texture = np.full((1, 1, 3), 180, np.uint8) if texture is None else texture
    return Mesh(np.asarray(box.vertices, np.float32), np.asarray(box.faces),
                np.zeros((len(box.faces), 3, 2), np.float32), texture)


@pytest.fixture(scope='module')
def hall():
    """A hall 8 x 6 x 3 m with a pillar 1 x 1 m at x 1..2, closed by thick walls."""
    return make_world('hall', [
        box_mesh((-4.2, -3.2, -0.2), (4.2, 3.2, 0.0)),
        box_mesh((-4.2, -3.2, 3.0), (4.2, 3.2, 3.2)),
        box_mesh((-4.2, -3.2, 0), (-4, 3.2, 3)), box_mesh((4, -3.2, 0), (4.2, 3.2, 3)),
        box_mesh((-4.2, -3.2, 0), (4.2, -3, 3)), box_mesh((-4.2, 3, 0), (4.2, 3.2, 3)),
        box_mesh((1, -0.5, 0), (2, 0.5, 3))])


def test_a_camera_looks_along_its_yaw_with_the_picture_upright():
    pose = camera_to_world(np.array([1.0, 2.0, 3.0]), np.radians(90), 0.0, 0.0)
    np.testing.assert_allclose(pose[:3, 2], [0, 1, 0], atol=1e-12)  # forward
    np.testing.assert_allclose(pose[:3, 1], [0, 0, -1], atol=1e-12)  # down
    np.testing.assert_allclose(pose[:3, 0], [1, 0, 0], atol=1e-12)  # right
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1.0)
    looking_up = camera_to_world(np.zeros(3), 0.0, np.radians(30), 0.4)
    assert looking_up[2, 2] == pytest.approx(0.5)


def test_cameras_stand_in_free_space_within_their_region_and_height(hall):
    rng = np.random.default_rng(0)
    eyes = np.array([e for e in (random_eye(hall, rng, (0.0, 0.5)) for _ in range(300))
                     if e is not None])
    assert len(eyes) > 100
    assert (eyes[:, 0] > -4 + worlds.CLEARANCE_M * 0.9).all() and (eyes[:, 0] < 0.01).all()
    assert (eyes[:, 2] > 0.19).all() and (eyes[:, 2] < 1.91).all()


def test_no_camera_stands_in_a_pillar(hall):
    rng = np.random.default_rng(1)
    for eye in (random_eye(hall, rng, (0.6, 0.75)) for _ in range(200)):
        if eye is not None:
            assert not (1 < eye[0] < 2 and abs(eye[1]) < 0.5)


def test_views_have_true_depth_and_the_same_seed_gives_the_same_views(hall):
    one, two, other = (render_views(hall, seed, 3, 48, 64) for seed in (5, 5, 6))
    assert len(one) == 3
    for a, b in zip(one, two):
        assert (a['image'] == b['image']).all()
        np.testing.assert_array_equal(a['depth'], b['depth'])
    assert any((a['image'] != b['image']).any() for a, b in zip(one, other))
    for view in one:
        longest = np.sqrt(8 ** 2 + 6 ** 2 + 3 ** 2)
        assert np.isfinite(view['depth']).all() and np.nanmax(view['depth']) < longest
        assert 45 <= np.degrees(2 * np.arctan(32 / view['intrinsics'].fx)) <= 90


def test_a_region_without_free_space_is_an_error(hall, monkeypatch):
    monkeypatch.setattr(worlds, 'TRIES', 3)
    with pytest.raises(DataError, match='larger region'):
        render_views(hall, 0, 1, 48, 64, (0.0, 0.001))


def glb(path, meshes):
    path.parent.mkdir(parents=True, exist_ok=True)
    trimesh.Scene(meshes).export(path)


def textured_square(pixels):
    """A square x 0..1, y 0..1 in the file's axes, its texture's first row at the top (y = 1)."""
    material = trimesh.visual.material.PBRMaterial(baseColorTexture=Image.fromarray(pixels))
    visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material)
    return trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]],
                           visual=visual, process=False)


def test_a_glb_keeps_its_metres_texture_and_upright_axes(tmp_path):
    pixels = np.zeros((2, 2, 3), np.uint8)
    pixels[0] = (255, 0, 0)  # red on top, black below
    glb(tmp_path / 'square.glb', [textured_square(pixels)])
    mesh, = load_meshes(tmp_path / 'square.glb', Y_UP_TO_Z_UP)
    np.testing.assert_allclose(mesh.vertices.max(axis=0), [1, 0, 1], atol=1e-6)
    assert (mesh.texture == pixels).all()
    corners = mesh.vertices[mesh.triangles]  # (T, 3, 3)
    top = corners[..., 2] > 0.5
    assert (mesh.uv[top][:, 1] == 0).all() and (mesh.uv[~top][:, 1] == 1).all()


def test_a_part_without_texture_has_its_plain_colour(tmp_path):
    box = trimesh.creation.box()
    box.visual = trimesh.visual.TextureVisuals(
        material=trimesh.visual.material.PBRMaterial(baseColorFactor=[10, 20, 30, 255]))
    glb(tmp_path / 'box.glb', [box])
    assert load_meshes(tmp_path / 'box.glb')[0].texture.tolist() == [[[10, 20, 30]]]


def test_a_damaged_glb_is_named(tmp_path):
    (tmp_path / 'bad.glb').write_bytes(b'glTF but not really')
    with pytest.raises(UnreadableFile, match='bad.glb'):
        load_meshes(tmp_path / 'bad.glb')


CATALOGUE = 'file,name,category,width_m,depth_m,height_m,faces,textured_parts,creator\n'


def test_furniture_of_the_two_splits_is_disjoint_and_damaged_files_are_left_out(tmp_path, caplog):
    names = [f'box{i}.glb' for i in range(12)]
    (tmp_path / 'catalogue.csv').write_text(
        CATALOGUE + ''.join(f'{n},Box,Office,1,1,1,12,0,me\n' for n in [*names, 'bad.glb']))
    for i, name in enumerate(names):
        glb(tmp_path / 'models' / name, [trimesh.creation.box(extents=(1, 1 + i, 1))])
    (tmp_path / 'models/bad.glb').write_bytes(b'')
    with caplog.at_level(logging.WARNING):
        sides = [load_furniture(tmp_path, split) for split in ('train', 'test')]
    heights = [{round(float(np.ptp(part.vertices[:, 2]))) for model in side for part in model}
               for side in sides]  # the file's Y is up
    assert heights[0] | heights[1] == set(range(1, 13)) and not heights[0] & heights[1]
    assert 'bad.glb' in caplog.text


@pytest.mark.parametrize('row, stands', [
    (('desk.glb', 'Office', 1.4, 0.5, 1.0), True),
    (('upperCabinet.glb', 'Kitchen', 0.6, 0.4, 0.7), False),
    (('lamp2.glb', 'Lights', 0.5, 0.5, 0.6), False),
    (('ruler.glb', 'Office', 0.3, 0.03, 0.002), False),
])
def test_only_things_that_stand_by_themselves_furnish_a_floor(row, stands):
    keys = ('file', 'category', 'width_m', 'depth_m', 'height_m')
    assert stands_on_floor(dict(zip(keys, row))) is stands


def test_a_room_gives_the_same_sensible_views_again():
    one, two = (render_room(100000, 2, 48, 64) for _ in range(2))
    assert len(one) == 2
    for a, b in zip(one, two):
        assert (a['image'] == b['image']).all() and a['name'] == b['name']
        np.testing.assert_array_equal(a['depth'], b['depth'])
        assert sensible(a['depth'])


def test_a_view_with_something_on_the_lens_is_not_sensible():
    depth = np.full((48, 64), 2.0, np.float32)
    assert sensible(depth)
    depth[:8, :8] = 0.05
    assert not sensible(depth) and not sensible(np.full((48, 64), np.nan, np.float32))
