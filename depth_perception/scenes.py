"""Procedural furnished rooms with exact depth: a live camera, and a training set.

    room = Room.random(seed=1)
    intrinsics = Intrinsics.from_hfov(640, 480, 70)
    for pose in room.camera_path(300):
        rgb, depth, normals = room.render(intrinsics, pose)
"""
from __future__ import annotations

from .scene_camera import CameraEffects, camera_effects
from .scene_light import Light
from .scene_mesh import Mesh, SceneError
from .scene_paths import look_at
from .scene_render import MeshScene, View
from .scene_rooms import Room

__all__ = ['CameraEffects', 'Light', 'Mesh', 'MeshScene', 'Room', 'SceneError', 'View',
           'camera_effects', 'look_at']
