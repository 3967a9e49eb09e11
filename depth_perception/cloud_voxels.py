"""Voxel grid: one point for each occupied cube, by hashing instead of sorting.

Sorting the points by cube costs most of a frame's time, and a table of all cubes of a room does
not fit into the processor's cache. So neighbours in a row that share a cube are summed first, and
each cube gets a place in a table of fixed size; the few that fall onto a place already taken get
another one in the next round.
"""

from __future__ import annotations

import numpy as np

from depth_perception.point_cloud import PointCloudError, pack_rgb, valid_points

AXIS_BITS = 21          # of a key, for each axis: cubes from -2^20 to 2^20 - 1
TABLE_BITS = 18
# Fibonacci hashing: 2^64 over the golden ratio, odd; a round takes a power of it
MULTIPLIER = 0x9E3779B97F4A7C15


def voxel_downsample(cloud: np.ndarray, voxel_size: float) -> np.ndarray:
    """One point per occupied cube: the mean position and the mean colour of the points in it.

    Parameters
    ----------
    cloud : (..., 4) float32
        Points without position are dropped.
    voxel_size : float
        Edge of a cube, metres; cubes are aligned to the origin.

    Returns
    -------
    (M, 4) float32
        In the order of the cubes, by x, then y, then z.

    Raises
    ------
    PointCloudError
        If `voxel_size` is not positive, or too small for the size of the cloud.
    """
    if not voxel_size > 0.0:
        raise PointCloudError(f'voxel size is {voxel_size:g} m; it must be above 0')
    points = valid_points(cloud)
    if not len(points):
        return points
    # columns: NumPy works on contiguous arrays an order of magnitude faster
    x, y, z, packed = np.ascontiguousarray(points.T)
    keys = _voxel_keys((x, y, z), voxel_size)
    runs = np.flatnonzero(np.append(True, keys[1:] != keys[:-1]))
    labels, count = _numbered(keys[runs])

    def total(values: np.ndarray, dtype: type) -> np.ndarray:
        return np.bincount(labels, np.add.reduceat(values, runs, dtype=dtype), count)

    sizes = np.bincount(labels, np.diff(runs, append=len(keys)), count)
    means = np.empty((count, 4), np.float32)
    for axis, values in enumerate((x, y, z)):
        # double: float32 sums of thousands of points lose the millimetre
        means[:, axis] = total(values, np.float64) / sizes
    bgra = np.ascontiguousarray(packed.view(np.uint8).reshape(-1, 4).T)
    colours = np.stack([total(channel, np.uint32) for channel in bgra[2::-1]], axis=-1)
    means[:, 3] = pack_rgb(np.rint(colours / sizes[:, None]).astype(np.uint8))
    return means


def _voxel_keys(xyz: tuple[np.ndarray, ...], voxel_size: float) -> np.ndarray:
    """One integer per point (N,) uint64, equal in the same cube; ordered by x, y, z of cubes."""
    half = 1 << (AXIS_BITS - 1)
    keys = np.zeros(len(xyz[0]), np.int64)
    for values in xyz:
        cell = values.astype(np.float64)        # float32 puts points into the wrong cube
        cell /= voxel_size
        np.floor(cell, out=cell)
        if not (cell.min() >= -half and cell.max() < half):
            raise PointCloudError(f'voxel size is {voxel_size:g} m: more cubes than can be '
                                  'counted; use larger voxels or limit the depth')
        cell += half
        keys <<= AXIS_BITS
        keys |= cell.astype(np.int64)
    return keys.view(np.uint64)


def _numbered(keys: np.ndarray) -> tuple[np.ndarray, int]:
    """Number the distinct keys (N,) in ascending order -> the number of each (N,), their count."""
    numbers = np.arange(len(keys))
    chosen = np.empty(len(keys), np.int64)      # one and the same index for all equal keys
    table = np.empty(1 << TABLE_BITS, np.int64)
    waiting, salt = numbers, 1
    while len(waiting):
        salt = salt * MULTIPLIER % (1 << 64)
        mine = keys[waiting]
        place = (mine * np.uint64(salt)) >> np.uint64(64 - TABLE_BITS)
        table[place] = waiting                  # of several the last stays: one key a place
        winner = table[place]
        settled = keys[winner] == mine
        chosen[waiting[settled]] = winner[settled]
        waiting = waiting[~settled]
    owners = np.flatnonzero(chosen == numbers)
    number = np.empty(len(keys), np.int64)
    number[owners[np.argsort(keys[owners])]] = np.arange(len(owners))
    return number[chosen], len(owners)
