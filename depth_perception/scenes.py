"""Procedural furnished rooms with exact depth: a live camera, and a training set."""
from __future__ import annotations

from .scene_mesh import Mesh, SceneError
from .scene_light import Light
from .scene_render import MeshScene, View
from .scene_rooms import Room

__all__ = ['Light', 'Mesh', 'MeshScene', 'Room', 'SceneError', 'View']
