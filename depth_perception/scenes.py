"""Procedural furnished rooms with exact depth: a live camera, and a training set."""
from __future__ import annotations

from .scene_mesh import Mesh, SceneError
from .scene_render import Light, MeshScene, View
from .scene_rooms import Room

__all__ = ['Light', 'Mesh', 'MeshScene', 'Room', 'SceneError', 'View']
