"""Procedural furnished rooms with exact depth: a live camera, and a training set.

``Room.random(seed)`` furnishes a room; ``room.render(intrinsics, pose)`` gives a ``View`` of it;
``room.random_pose(rng)`` and ``room.camera_path(n_frames)`` say where a camera may be. Any other
textured meshes are rendered by ``MeshScene``.
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
