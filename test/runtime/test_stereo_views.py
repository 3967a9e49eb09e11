import math

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from depth_perception.stereo_disparity import StereoError
from depth_perception.stereo_formats import FORMATS, anaglyph, side_by_side, top_bottom
from depth_perception.stereo_plan import StereoSettings
from depth_perception.stereo_views import StereoViews

W, H, FOCAL_PX = 64, 48, 50.0
CAMERA = Intrinsics(W, H, FOCAL_PX, FOCAL_PX, 31.5, 23.5)
PICTURE = np.random.default_rng(3).integers(0, 256, (H, W, 3), np.uint8)
WALL = np.full((H, W), 2.0, np.float32)
#: 50 px * 0.08 m / 2 m = 2 px
TWO_PX = 0.08


def views_of(depth=WALL, image=PICTURE, camera=CAMERA, **wishes):
    wishes.setdefault('baseline_m', TWO_PX)
    views = StereoViews(StereoSettings(**wishes))
    views.update(image, depth, camera)
    return views


def test_the_picture_itself_is_the_left_view_and_the_right_one_moves_by_the_disparity():
    left, right, left_holes, right_holes = views_of().pair()
    assert np.array_equal(left, PICTURE) and np.array_equal(right[:, :-2], PICTURE[:, 2:])
    assert not left_holes.any() and np.flatnonzero(right_holes[0]).tolist() == [62, 63]


def test_both_views_lie_at_equal_distances_from_the_picture():
    left, right, left_holes, right_holes = views_of(views='both').pair()
    assert np.array_equal(left[:, 1:], PICTURE[:, :-1])
    assert np.array_equal(right[:, :-1], PICTURE[:, 1:])
    assert left_holes[:, 0].all() and right_holes[:, -1].all()
    assert left_holes.sum() == right_holes.sum() == H


def test_what_lies_on_the_screen_stays_where_it_is():
    assert np.array_equal(views_of(convergence_m=2.0).pair().right, PICTURE)
    assert np.array_equal(views_of(auto_convergence='nearest').pair().right, PICTURE)


def test_many_views_go_from_the_left_eye_to_the_right_one():
    views = views_of(view_count=5, baseline_m=2 * TWO_PX).many()
    for view, moved in zip(views, (-2, -1, 0, 1, 2)):
        inner = slice(2, W - 2)
        assert np.array_equal(view[:, inner], np.roll(PICTURE, -moved, axis=1)[:, inner]), moved


def test_the_outermost_of_many_views_are_the_pair_drawn_on_both_sides():
    rng = np.random.default_rng(0)
    depth = cv2.GaussianBlur(rng.uniform(0.5, 6.0, (H, W)).astype(np.float32), (0, 0), 4)
    views = views_of(depth, views='both', view_count=3)
    many = views.many()
    pair = views.pair()
    assert np.array_equal(many[0], pair.left) and np.array_equal(many[-1], pair.right)


def test_a_pair_stays_right_after_many_views_were_drawn():
    views = views_of()
    before = views.pair().right.copy()
    views.many()
    assert np.array_equal(views.pair().right, before)


@pytest.mark.parametrize('name, shape', [
    ('side_by_side', (H, 2 * W)), ('half_side_by_side', (H, W)), ('cross_eyed', (H, 2 * W)),
    ('top_bottom', (2 * H, W)), ('half_top_bottom', (H, W)), ('row_interleaved', (H, W)),
    ('column_interleaved', (H, W)), ('anaglyph_dubois', (H, W)), ('rgbd', (H, 2 * W)),
    ('quilt', (2 * H, 3 * W)), ('tile', (2 * H, 3 * W)), ('lenticular', (H, W))])
def test_a_picture_in_each_format_has_its_size(name, shape):
    picture = views_of(view_count=6).picture(name)
    assert picture.shape == (*shape, 3) and picture.dtype == np.uint8


def test_pictures_are_the_formats_of_the_pair():
    views = views_of()
    left, right = views.pair()[:2]
    assert np.array_equal(views.picture('side_by_side'), side_by_side(left, right))
    assert np.array_equal(views.picture('top_bottom'), top_bottom(left, right))
    assert np.array_equal(views.picture('anaglyph_dubois'), anaglyph(left, right))


def test_nothing_moves_farther_than_the_comfort_limit():
    depth = WALL.copy()
    depth[10:12, 10:12] = 0.05      # fewer than count for the plan
    views = views_of(depth, max_disparity_percent=5.0)
    assert np.nanmax(np.abs(views.disparity)) <= np.float32(0.05 * W)
    assert views.plan.baseline_m == pytest.approx(TWO_PX)


def test_earlier_frames_fill_what_the_new_view_uncovers():
    # a wall at 4 m behind a box at 1 m; the camera slides to the left by 6 cm
    rng = np.random.default_rng(5)
    camera = Intrinsics(240, 120, 200.0, 200.0, 119.5, 59.5)
    wall = cv2.GaussianBlur(rng.integers(0, 256, (120, 400, 3), np.uint8), (0, 0), 1.2)
    box = cv2.GaussianBlur(rng.integers(0, 256, (60, 60, 3), np.uint8), (0, 0), 1.2)

    def seen_from(metres):
        far, near = round(200 * metres / 4.0), round(200 * metres / 1.0)
        image = wall[:, 80 + far:320 + far].copy()
        depth = np.full((120, 240), 4.0, np.float32)
        image[30:90, 90 - near:150 - near] = box
        depth[30:90, 90 - near:150 - near] = 1.0
        return image, depth

    truth = seen_from(0.06)[0]
    errors = {}
    for fill in ('background', 'temporal'):
        views = StereoViews(StereoSettings(baseline_m=0.06, fill=fill))
        for metres in (0.06, 0.04, 0.02, 0.0):
            views.update(*seen_from(metres), camera)
        right, holes = views.pair().right, views.pair().right_holes
        errors[fill] = np.abs(right.astype(float) - truth)[holes].mean()
    assert errors['temporal'] < 0.4 * errors['background']


@pytest.fixture(scope='module')
def rooms():
    pytest.importorskip('open3d')
    from depth_perception.scenes import Room
    camera = Intrinsics.from_hfov(480, 360, 63.0)
    both = [(seed, Room.random(seed)) for seed in (700_001, 700_004)]
    return [(camera, room.render(camera, room.random_pose(np.random.default_rng(seed))))
            for seed, room in both]


@pytest.mark.parametrize('side', ['right', 'both'])
def test_a_stereo_matcher_gets_the_depth_back_from_our_pair(rooms, side):
    matcher = cv2.StereoSGBM.create(0, 64, 5, P1=600, P2=2400, uniquenessRatio=10,
                                    speckleWindowSize=50, speckleRange=1, disp12MaxDiff=1)
    for camera, view in rooms:
        views = views_of(view.depth, view.rgb, camera, baseline_m=0.065, views=side)
        grey = [cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in views.pair()[:2]]
        found = matcher.compute(*grey).astype(np.float32) / 16
        good = found > 0.5
        # seen from the left eye; with both drawn that is half a disparity further right
        depth = view.depth
        if side == 'both':
            x = np.arange(480, dtype=np.float32) - 0.5 * found
            y = np.broadcast_to(np.arange(360, dtype=np.float32)[:, None], x.shape)
            depth = cv2.remap(depth, x, np.ascontiguousarray(y), cv2.INTER_NEAREST)
        error = np.abs(camera.fx * 0.065 / found[good] / depth[good] - 1.0)
        assert good.mean() > 0.5 and np.median(error) < 0.02


BAD = [np.nan, 0.0, -2.0, np.inf, -np.inf, 1e-9, 1e30]


@pytest.mark.parametrize('bad', BAD)
@pytest.mark.parametrize('wishes', [
    {}, {'fill': 'temporal', 'smoothing': 0.5}, {'fill': 'inpaint', 'views': 'both'},
    {'auto_convergence': 'nearest', 'max_disparity_percent': 3.0}], ids=str)
def test_frames_of_bad_depth_alone_are_drawn_without_an_error(bad, wishes):
    views = views_of(np.full((H, W), bad, np.float32), **wishes)
    views.update(PICTURE, np.full((H, W), bad, np.float32), CAMERA)
    for name in FORMATS:
        assert views.picture(name).dtype == np.uint8


@pytest.mark.parametrize('bad', [np.nan, 0.0, -2.0])
def test_a_frame_without_any_depth_is_shown_flat(bad):
    views = views_of(np.full((H, W), bad, np.float32), auto_convergence='nearest')
    assert np.array_equal(views.pair().right, PICTURE) and not views.pair().right_holes.any()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, H - 1), st.integers(0, W - 1),
                          st.sampled_from([*BAD, 0.01, 0.3])), max_size=60))
def test_spoilt_pixels_never_spoil_the_settings_of_the_frame(spoilt):
    depth = WALL.copy()
    for row, column, value in spoilt:
        depth[row, column] = value
    views = views_of(depth, smoothing=0.5, max_disparity_percent=5.0, auto_convergence='subject')
    assert 0.0 < views.plan.baseline_m < 1.0
    assert views.pair().right.shape == PICTURE.shape


def test_depth_of_another_size_than_the_image_is_refused_with_the_way_out():
    with pytest.raises(StereoError, match='depth has 32x24 pixels, the image 64x48; resize'):
        views_of(WALL[::2, ::2])


def test_an_image_of_one_column_is_refused_with_the_rule():
    thin = Intrinsics(1, H, FOCAL_PX, FOCAL_PX, 0.0, 23.5)
    with pytest.raises(StereoError, match='1x48; it must be at least 2x1'):
        views_of(WALL[:, :1], PICTURE[:, :1], thin)


def test_a_disparity_wider_than_the_image_shows_what_is_behind_or_nothing_new():
    depth = WALL.copy()
    depth[:, 20:40] = 0.02          # 200 px
    right = views_of(depth, edge_dilation_px=0).pair().right
    assert np.array_equal(right[:, 45:62], PICTURE[:, 47:])


def test_no_baseline_is_refused_and_a_format_that_does_not_exist_too():
    with pytest.raises(StereoError, match='baseline_m is 0.0'):
        StereoSettings(baseline_m=0.0)
    with pytest.raises(StereoError, match="format is 'quild', perhaps 'quilt' is meant"):
        views_of().picture('quild')


@pytest.mark.parametrize('width', [3, 63, 65])
@pytest.mark.parametrize('name', ['row_interleaved', 'column_interleaved', 'half_side_by_side'])
def test_odd_widths_work_in_every_interleaved_format(name, width):
    camera = Intrinsics(width, H, FOCAL_PX, FOCAL_PX, width / 2, 23.5)
    image = np.random.default_rng(1).integers(0, 256, (H, width, 3), np.uint8)
    views = views_of(np.full((H, width), 2.0, np.float32), image, camera)
    picture, (left, right, *_) = views.picture(name), views.pair()
    if name == 'column_interleaved':
        assert np.array_equal(picture[:, ::2], left[:, ::2])
        assert np.array_equal(picture[:, 1::2], right[:, 1::2])
    else:
        assert picture.shape[1] == (width if 'row' in name else width // 2 * 2)


def test_frames_may_change_their_size():
    views = views_of()
    big = np.repeat(np.repeat(PICTURE, 2, 0), 2, 1)
    views.update(big, np.full((2 * H, 2 * W), 2.0, np.float32), CAMERA.resized(2 * W, 2 * H))
    assert views.pair().right.shape == big.shape
    assert math.isclose(views.disparity[0, 0], 4.0, rel_tol=1e-6)


def test_the_motorcycle_is_far_closer_to_the_photograph_than_by_a_backward_lookup():
    data, metrics = pytest.importorskip('skimage.data'), pytest.importorskip('skimage.metrics')
    left, photograph, disparity = data.stereo_motorcycle()
    depth = (1.0 / np.where(np.isfinite(disparity), disparity, np.nan)).astype(np.float32)
    height, width = disparity.shape
    # 1 px of focal length and 1 m between the eyes: the disparity is 1 / depth
    ours = views_of(depth, left, Intrinsics(width, height, 1.0, 1.0, 0.0, 0.0), baseline_m=1.0)
    x = np.arange(width, dtype=np.float32) + np.nan_to_num(disparity, posinf=0.0)
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], x.shape)
    naive = cv2.remap(left, x.astype(np.float32), np.ascontiguousarray(y), cv2.INTER_LINEAR,
                      borderMode=cv2.BORDER_REPLICATE)

    def scores(picture):
        return (10 * np.log10(255.0 ** 2 / np.mean((picture.astype(float) - photograph) ** 2)),
                metrics.structural_similarity(picture, photograph, channel_axis=2))

    (psnr, ssim), (naive_psnr, naive_ssim) = scores(ours.pair().right), scores(naive)
    assert psnr > 23.5 and psnr > naive_psnr + 6.0
    assert ssim > 0.88 and ssim > naive_ssim + 0.2
