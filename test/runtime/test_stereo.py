import sys

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
import numpy as np
import pytest

from depth_perception.stereo import (
    StereoError,
    StereoRenderer,
    disparity_from_depth,
)

W, H = 64, 6


@pytest.fixture(scope='module', params=['numba', 'numpy'])
def renderer(request):
    return make_renderer(request.param)


def make_renderer(backend, width=W, height=H):
    if backend == 'numba':
        pytest.importorskip('numba')
        return StereoRenderer(width, height)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'depth_perception.stereo_kernel', None)
        renderer = StereoRenderer(width, height)
    assert renderer.backend == 'numpy'
    return renderer


def rows(values, dtype=np.float32):
    """The same row H times."""
    return np.ascontiguousarray(np.broadcast_to(np.asarray(values, dtype), (H, len(values))))


def grey(values):
    return cv2.merge([np.rint(rows(values)).astype(np.uint8)] * 3)


def right_camera(layers, t):
    """What a camera to the right sees at column t of layers (first, last, disparity, colour)."""
    for first, last, disparity, colour in sorted(layers, key=lambda layer: -layer[2]):
        if first - 0.5 <= t + disparity <= last + 0.5:
            return colour(min(max(t + disparity, first), last))
    return None


def left_camera(layers):
    """Image row and disparity row of the same layers seen from the left camera itself."""
    near_first = sorted(layers, key=lambda layer: -layer[2])
    seen = [next(a for a in near_first if a[0] <= x <= a[1]) for x in range(W)]
    return grey([a[3](x) for x, a in enumerate(seen)]), rows([a[2] for a in seen])


BACKGROUND = (0, W - 1, 2.25, lambda x: 20 + x)
MIDDLE = (18, 40, 6.75, lambda x: 120 + x)
FRONT = (30, 36, 11.125, lambda x: 250 - x)


def test_the_disparity_of_two_metres_is_focal_length_times_baseline_over_two():
    depth = np.array([[2.0, 4.0, np.nan, np.inf]], np.float32)
    disparity = disparity_from_depth(depth, focal_px=500.0, baseline_m=0.065)
    assert disparity.dtype == np.float32
    np.testing.assert_allclose(disparity, [[16.25, 8.125, np.nan, 0.0]])


def test_depth_of_zero_and_less_has_no_disparity():
    depth = np.array([[0.0, -0.0, -2.0, 2.0]], np.float32)
    disparity = disparity_from_depth(depth, 500.0, 0.065, convergence_m=4.0)
    np.testing.assert_allclose(disparity, [[np.nan, np.nan, np.nan, 8.125]])


def test_what_lies_at_the_convergence_distance_has_no_disparity():
    depth = np.array([[1.0, 2.0, 4.0]], np.float32)
    out = np.empty_like(depth)
    disparity = disparity_from_depth(depth, 500.0, 0.065, convergence_m=2.0, out=out)
    assert disparity is out
    np.testing.assert_allclose(disparity, [[16.25, 0.0, -8.125]], atol=1e-5)


@pytest.mark.parametrize('settings_', [(0.0, 0.065, 1.0), (500.0, -0.1, 1.0), (500.0, 0.1, 0.0)])
def test_impossible_cameras_are_refused(settings_):
    with pytest.raises(StereoError, match='must be above 0'):
        disparity_from_depth(np.ones((1, 1), np.float32), *settings_)


def test_a_plane_moves_by_exactly_its_disparity(renderer):
    right, holes = renderer.right_from_left(grey(3.0 * np.arange(W)), rows([16.25] * W))
    t = np.arange(47)                       # column 47 + 16.25 is past the last one, 63
    np.testing.assert_allclose(right[:, :47, 0], rows(3.0 * (t + 16.25)), atol=0.51)
    assert not holes[:, :47].any() and holes[:, 48:].all()


def test_both_views_move_half_the_disparity_each(renderer):
    left, right, left_holes, right_holes = renderer.views(grey(3.0 * np.arange(W)),
                                                          rows([8.5] * W))
    inner = np.arange(6, W - 6)
    np.testing.assert_allclose(left[:, inner, 0], rows(3.0 * (inner - 4.25)), atol=0.51)
    np.testing.assert_allclose(right[:, inner, 0], rows(3.0 * (inner + 4.25)), atol=0.51)
    assert left_holes[:, :4].all() and right_holes[:, -4:].all()
    assert not left_holes[:, 6:].any() and not right_holes[:, :-6].any()


@pytest.mark.parametrize('layers', [(BACKGROUND, MIDDLE), (BACKGROUND, MIDDLE, FRONT)])
def test_the_new_view_is_the_scene_seen_by_the_right_camera(renderer, layers):
    right, holes = renderer.right_from_left(*left_camera(layers))
    for t in np.flatnonzero(~holes[0]):
        assert abs(int(right[0, t, 0]) - right_camera(layers, t)) <= 1, f'column {t}'


def test_a_hole_is_as_wide_as_the_step_in_disparity_and_the_two_mixed_pixels(renderer):
    layers = (BACKGROUND[:2] + (2.0,) + BACKGROUND[3:], MIDDLE[:2] + (7.0,) + MIDDLE[3:])
    _, holes = renderer.right_from_left(*left_camera(layers))
    # the object ends at 40 - 7 = 33, the background goes on at 41 - 2 = 39, two later drawn
    expected = [*range(34, 41), W - 2, W - 1]
    assert np.array_equal(np.flatnonzero(holes[0]), expected)


def test_holes_are_filled_from_the_surface_behind_them(renderer):
    far, near = (0, W - 1, 1.0, lambda _: 40), (20, 35, 12.0, lambda _: 200)
    right, holes = renderer.right_from_left(*left_camera((far, near)))
    inside = np.flatnonzero(holes[0])
    assert inside[0] == 24
    # the blur may reach one pixel of the object beside the hole
    assert (right[:, inside[1:]] == 40).all()


def test_a_slanted_wall_stays_closed(renderer):
    disparity = rows(np.linspace(2.0, 26.0, W))             # stretched in the view to the left
    left, _, left_holes, right_holes = renderer.views(grey(2.0 * np.arange(W)), disparity)
    assert not left_holes[:, 2:].any() and not right_holes[:, :-14].any()
    steps = np.diff(left[0, 2:, 0].astype(int))
    assert (steps >= 0).all() and steps.max() <= 3


def test_depth_that_climbs_an_edge_slowly_draws_the_same_edge(renderer):
    sharp = np.where(np.arange(W) < 31, 2.0, 14.0)
    smeared = np.interp(np.arange(W), [28, 33], [2.0, 14.0])
    image = grey(np.where(np.arange(W) < 31, 30, 220))
    expected = [a.copy() for a in renderer.right_from_left(image, rows(sharp))]
    for a, b in zip(renderer.right_from_left(image, rows(smeared)), expected):
        assert np.array_equal(a, b)


def test_pixels_without_depth_move_with_the_farther_side(renderer):
    known = np.where(np.arange(W) < 32, 9.0, 3.0)
    unknown = known.copy()
    unknown[26:40] = np.nan
    farther = known.copy()
    farther[26:40] = 3.0
    image = grey(3.0 * np.arange(W))
    expected = [a.copy() for a in renderer.right_from_left(image, rows(farther))]
    for bad in (np.nan, np.inf, -np.inf, 1e12):
        unknown[30:34] = bad
        for a, b in zip(renderer.right_from_left(image, rows(unknown)), expected):
            assert np.array_equal(a, b)


def test_a_row_without_any_depth_stays_where_it_is(renderer):
    image = grey(3.0 * np.arange(W))
    left, right, *holes = renderer.views(image, np.full((H, W), np.nan, np.float32))
    assert np.array_equal(left, image) and np.array_equal(right, image)
    assert not np.any(holes)


def test_what_comes_too_near_leaves_the_picture(renderer):
    disparity = np.full(W, 2.0)
    disparity[20:30] = 1.5 * W
    image = grey(np.where((np.arange(W) >= 20) & (np.arange(W) < 30), 255, 50))
    right, _ = renderer.right_from_left(image, rows(disparity))
    assert (right == 50).all()


disparities = hnp.arrays(np.float32, (H, W), elements=st.one_of(
    st.floats(-20, 20, width=32),
    st.sampled_from([0.0, 0.5, 1.0, 5.0, np.nan, np.inf, 2.0 ** 100])))
smooth = st.builds(
    lambda start, slope, at, step: rows(start + slope * np.arange(W) + step * (np.arange(W) > at)),
    st.floats(-5, 5), st.floats(-1.2, 1.2), st.integers(0, W), st.floats(-20, 20))


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (H, W, 3), np.uint8)


@settings(deadline=None, max_examples=60)
@given(disparity=disparities | smooth, seed=st.integers(0, 9))
def test_numba_and_numpy_draw_identical_pixels(disparity, seed):
    numba, numpy = RENDERERS['numba'], RENDERERS['numpy']
    image = picture(seed)
    for a, b in zip(numba.views(image, disparity), numpy.views(image, disparity)):
        assert np.array_equal(a, b)
    for a, b in zip(numba.right_from_left(image, disparity),
                    numpy.right_from_left(image, disparity)):
        assert np.array_equal(a, b)


@pytest.mark.parametrize('height', [240, 241])
def test_large_pictures_are_identical_as_well_although_two_threads_draw_them(
        height, monkeypatch):
    kernel = pytest.importorskip('depth_perception.stereo_kernel')
    monkeypatch.setattr(kernel, 'FEWEST_FOR_TWO_THREADS', 0)
    monkeypatch.setattr(kernel, '_cores', lambda: 2)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (height, 320, 3), np.uint8)
    disparity = cv2.GaussianBlur(rng.uniform(-60, 90, (height, 320)).astype(np.float32), (0, 0), 5)
    disparity[60:120, 80:200] += 15.0
    drawn = [make_renderer(name, 320, height).views(image, disparity)
             for name in ('numba', 'numpy')]
    for a, b in zip(*drawn):
        assert np.array_equal(a, b)


@settings(deadline=None, max_examples=40)
@given(disparity=disparities | smooth, seed=st.integers(0, 9))
def test_a_mirrored_image_gives_mirrored_views_with_the_eyes_swapped(disparity, seed):
    renderer, image = RENDERERS['numpy'], picture(seed)
    left, right, left_holes, right_holes = (a.copy() for a in renderer.views(image, disparity))
    mirrored = renderer.views(np.ascontiguousarray(image[:, ::-1]),
                              np.ascontiguousarray(disparity[:, ::-1]))
    for a, b in zip(mirrored, (right, left, right_holes, left_holes)):
        assert np.array_equal(a[:, ::-1], b)


@settings(deadline=None, max_examples=40)
@given(disparity=smooth | disparities, seed=st.integers(0, 9))
def test_without_holes_every_pixel_lies_between_two_neighbours_of_the_image(disparity, seed):
    image = picture(seed)
    right, holes = RENDERERS['numpy'].right_from_left(image, disparity)
    low = np.minimum(image, np.roll(image, -1, axis=1))
    high = np.maximum(image, np.roll(image, -1, axis=1))
    possible = ((right[:, :, None] >= low[:, None]) & (right[:, :, None] <= high[:, None]))
    assert possible.all(axis=3).any(axis=2)[~holes].all()


class _Renderers(dict):
    """Made at the first use: collecting tests must not compile anything."""

    def __missing__(self, backend):
        return self.setdefault(backend, make_renderer(backend))


RENDERERS = _Renderers()


def test_the_motorcycle_of_middlebury_looks_as_the_real_right_camera_saw_it():
    data = pytest.importorskip('skimage.data')
    left, real, disparity = data.stereo_motorcycle()
    disparity = np.where(np.isfinite(disparity), disparity, np.nan).astype(np.float32)
    renderer = make_renderer('numpy', left.shape[1], left.shape[0])
    right, holes = renderer.right_from_left(left, disparity)
    error = (right.astype(float) - real)[~holes]
    assert 10 * np.log10(255 ** 2 / np.mean(error ** 2)) > 27.3
    assert holes.mean() < 0.15


def test_wrong_sizes_and_types_are_refused_with_the_way_out():
    renderer = RENDERERS['numpy']
    image, disparity = picture(0), np.zeros((H, W), np.float32)
    with pytest.raises(StereoError, match=r'image is uint8 \(5, 64, 3\).*make one per size'):
        renderer.views(image[:5], disparity)
    with pytest.raises(StereoError, match='disparity is float64 .*needs float32'):
        renderer.right_from_left(image, disparity.astype(np.float64))
    with pytest.raises(StereoError, match='1x1'):
        StereoRenderer(1, 1)


OPTIONS = [{'fill': 'inpaint'}, {'soft_edges': True}, {'edge_dilation_px': 2},
           {'fill': 'inpaint', 'soft_edges': True, 'edge_dilation_px': 1}]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
@settings(deadline=None, max_examples=25)
@given(disparity=disparities | smooth, seed=st.integers(0, 9))
def test_every_option_draws_identical_pixels_with_numba_and_numpy(options, disparity, seed):
    drawn = [with_options(RENDERERS[name], options, picture(seed), disparity)
             for name in ('numba', 'numpy')]
    for a, b in zip(*drawn):
        assert np.array_equal(a, b)


@pytest.mark.parametrize('options', OPTIONS, ids=str)
@settings(deadline=None, max_examples=15)
@given(disparity=smooth, seed=st.integers(0, 9))
def test_with_every_option_a_mirrored_image_gives_mirrored_views(options, disparity, seed):
    renderer, image = RENDERERS['numpy'], picture(seed)
    left, right, left_holes, right_holes = with_options(renderer, options, image, disparity)
    mirrored = with_options(renderer, options, np.ascontiguousarray(image[:, ::-1]),
                            np.ascontiguousarray(disparity[:, ::-1]))
    for a, b in zip(mirrored, (right, left, right_holes, left_holes)):
        assert np.array_equal(a[:, ::-1], b)


def with_options(renderer, options, image, disparity):
    """Copies of both views and holes; the renderer is as before afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in options.items():
            patch.setattr(renderer, name, value)
        return [each.copy() for each in renderer.views(image, disparity)]


def test_a_view_in_between_moves_by_its_share_and_the_middle_one_is_the_image(renderer):
    image, disparity = grey(3.0 * np.arange(W)), rows([8.0] * W)
    for share, moved in ((1.0, 8), (0.5, 4), (0.25, 2)):
        right, holes = renderer.view_at(image, disparity, share)
        assert np.array_equal(right[:, :W - moved], image[:, moved:])
        assert holes[:, -moved:].all() and not holes[:, :-moved].any()
        left, holes = renderer.view_at(image, disparity, -share)
        assert np.array_equal(left[:, moved:], image[:, :W - moved])
        assert holes[:, :moved].all() and not holes[:, moved:].any()
    middle, holes = renderer.view_at(image, disparity, 0.0)
    assert np.array_equal(middle, image) and not holes.any()


FAR_AND_NEAR = ((0, W - 1, 1.0, lambda _: 40), (20, 35, 12.0, lambda _: 200))


def test_soft_edges_change_nothing_but_the_two_pixels_at_each_edge(renderer):
    image, disparity = left_camera(FAR_AND_NEAR)
    hard, holes = (each.copy() for each in renderer.right_from_left(image, disparity))
    soft = with_options(renderer, {'soft_edges': True}, image, disparity * 2.0)[1]
    changed = np.flatnonzero((soft[0] != with_options(renderer, {}, image, disparity * 2.0)[1][0]
                              ).any(axis=1))
    # the object covers 20 - 12 to 35 - 12
    assert changed.tolist() == [7, 8, 23, 24]
    assert np.array_equal(np.flatnonzero((hard[0] == 200).all(axis=1)), np.arange(8, 24))


def test_soft_edges_lie_between_what_they_mix():
    image, disparity = left_camera(FAR_AND_NEAR)
    soft = with_options(RENDERERS['numpy'], {'soft_edges': True}, image, 2.0 * disparity)[1]
    # a quarter from each neighbour; the fill beside the object has a third of it already
    assert soft[0, [7, 8, 23, 24], 0].tolist() == [80, 160, 173, 107]


def test_dilation_lets_near_surfaces_grow_on_all_sides(renderer):
    image, disparity = left_camera(FAR_AND_NEAR)
    views = with_options(renderer, {'edge_dilation_px': 2}, image, disparity)
    wider = disparity.copy()
    wider[:, 18:38] = 12.0
    for a, b in zip(views, with_options(renderer, {}, image, wider)):
        assert np.array_equal(a, b)


def test_what_is_cut_off_a_near_surface_comes_along_when_it_grows(renderer):
    # depth of the object is three pixels too narrow on each side, as networks give it
    image = left_camera(FAR_AND_NEAR)[0]
    narrow = rows(np.where((np.arange(W) >= 23) & (np.arange(W) <= 32), 12.0, 1.0))
    plain = with_options(renderer, {}, image, 2.0 * narrow)[1]
    grown = with_options(renderer, {'edge_dilation_px': 3}, image, 2.0 * narrow)[1]
    assert (plain[0, :, 0] > 120).sum() > 16        # pieces of it stayed behind
    assert np.flatnonzero(grown[0, :, 0] > 120).tolist() == list(range(8, 24))


def test_inpainting_takes_nothing_from_the_foreground():
    image, disparity = left_camera(FAR_AND_NEAR)
    views = with_options(RENDERERS['numpy'], {'fill': 'inpaint'}, image, 2.0 * disparity)
    inside = np.flatnonzero(views[3][0])
    assert len(inside) > 8
    np.testing.assert_allclose(views[1][:, inside[1:]], 40, atol=4)     # of 160 to the object


def test_inpainting_continues_a_slanted_line_better_than_extension():
    height = width = 64
    y, x = np.mgrid[:height, :width]
    stripes = np.where((x + y) // 6 % 2, 220, 40).astype(np.uint8)
    image = cv2.merge([stripes] * 3)
    disparity = np.zeros((height, width), np.float32)
    image[:, 24:30] = 128
    disparity[:, 24:30] = 12.0
    errors = {}
    for fill in ('background', 'inpaint'):
        renderer = make_renderer('numpy', width, height)
        renderer.fill = fill
        right, holes = renderer.right_from_left(image, disparity)
        hidden = holes & (x >= 24) & (x < 32)
        errors[fill] = np.abs(right[..., 0].astype(float) - stripes)[hidden].mean()
    assert errors['inpaint'] < errors['background']


def test_earlier_colours_fill_the_holes_that_they_are_known_for():
    image, disparity = left_camera(FAR_AND_NEAR)
    asked = []

    def look_up(x, y, at):
        asked.append((x, y, at))
        return np.full((len(x), 3), 77, np.uint8), y % 2 == 0

    for eye in (0, 1):
        asked.clear()
        views = with_options(RENDERERS['numpy'], {'fill': 'temporal', 'look_up': look_up},
                             image, 2.0 * disparity)
        view, holes = views[eye], views[2 + eye]
        inner = holes.copy()
        assert (view[::2][inner[::2]] == 77).all() and (view[1::2][inner[1::2]] != 77).all()
        x, y, at = asked[eye]
        # the surface behind has 2 px; half of it moves each eye's view
        columns = np.flatnonzero(holes[0]) + (-1.0 if eye == 0 else 1.0)
        assert sorted(x[y == 0]) == columns.tolist() and np.allclose(at, 2.0)
