"""Rigid transforms and the way between frames."""

from __future__ import annotations

import cv2
from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.transforms import TransformError, TransformTree, moved, rigid

HALF = 0.5 ** 0.5


def test_a_quarter_turn_about_z_by_hand():
    matrix = rigid((1.0, 2.0, 3.0), (0.0, 0.0, HALF, HALF))
    np.testing.assert_allclose(moved(np.array([[1.0, 0.0, 0.0]]), matrix), [[1, 3, 3]], atol=1e-9)


def test_the_usual_turn_takes_a_body_frame_into_an_optical_one():
    # x ahead, y left, z up -> z ahead, x right, y down
    matrix = rigid((0.0, 0.0, 0.0), (0.5, -0.5, 0.5, 0.5))
    np.testing.assert_allclose(moved(np.eye(3), matrix),
                               [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], atol=1e-9)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=3))
def test_rotations_are_those_of_opencv(vector):
    angle = float(np.linalg.norm(vector))
    axis = np.array(vector) / angle if angle > 1e-9 else np.array([1.0, 0.0, 0.0])
    quaternion = (*(np.sin(angle / 2) * axis), np.cos(angle / 2))
    expected = cv2.Rodrigues(np.array(vector))[0]
    np.testing.assert_allclose(rigid((0, 0, 0), quaternion)[:3, :3], expected, atol=1e-6)


@pytest.mark.parametrize('translation, rotation', [
    ((0, 0, 0), (0, 0, 0, 0)), ((0, 0, 0), (0, 0, 0, 2)), ((0, 0, float('nan')), (0, 0, 0, 1)),
    ((0, 0), (0, 0, 0, 1)), ((0, 0, 0), (0, 0, 1)), ((0, 0, 0, 0), (0, 0, 1)),
    ((0, 0, 0), (0, float('inf'), 0, 1))])
def test_what_is_no_pose_is_refused(translation, rotation):
    with pytest.raises(TransformError, match='quaternion x y z w of length 1'):
        rigid(translation, rotation)


def tree():
    found = TransformTree()
    found.set('base', 'lidar', rigid((0.0, 0.0, 1.0), (0, 0, 0, 1)))
    found.set('base', 'mast', rigid((0.2, 0.0, 0.0), (0, 0, HALF, HALF)))
    found.set('/mast', '/optical', rigid((0.0, 0.0, 2.0), (0.5, -0.5, 0.5, -0.5)))
    return found


def test_the_way_goes_over_the_common_ancestor():
    # 3 m ahead of the lidar lies, from the mast (turned left), 2.8 m to the right and 1 m up
    point = moved(np.array([[3.0, 0.0, 0.0]]), tree().lookup('mast', 'lidar'))
    np.testing.assert_allclose(point, [[0.0, -2.8, 1.0]], atol=1e-9)
    # of the optical frame: x right 2.8, y down 1, z ahead 0
    point = moved(np.array([[3.0, 0.0, 0.0]]), tree().lookup('optical', '/lidar'))
    np.testing.assert_allclose(point, [[2.8, 1.0, 0.0]], atol=1e-9)


def test_there_and_back_is_nowhere():
    both = tree().lookup('optical', 'lidar') @ tree().lookup('lidar', 'optical')
    np.testing.assert_allclose(both, np.eye(4), atol=1e-9)
    np.testing.assert_array_equal(tree().lookup('lidar', 'lidar'), np.eye(4))


def test_without_a_way_the_known_frames_are_named():
    with pytest.raises(TransformError, match="from 'sonar' to 'mast'; known frames: base, lidar,"):
        tree().lookup('mast', 'sonar')
    with pytest.raises(TransformError, match='known frames: none'):
        TransformTree().lookup('a', 'b')


def test_a_loop_of_frames_ends():
    loop = TransformTree()
    loop.set('a', 'b', np.eye(4))
    loop.set('b', 'a', np.eye(4))
    np.testing.assert_array_equal(loop.lookup('a', 'b'), np.eye(4))
    with pytest.raises(TransformError):
        loop.lookup('a', 'c')
