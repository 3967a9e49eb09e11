"""The renderer against two that share no code with it: a sum over all pixels, and a true lens."""
from dataclasses import replace
import math

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.special import ive

from depth_perception.focus_render import HOLE_DEPTH_M, fill_holes, render_slice, render_stack
from depth_perception.geometry import Intrinsics
from depth_perception.optics import LARGE_F_NUMBERS, SMALL_F_NUMBERS, Lens, OpticsError
from depth_perception.scenes import Mesh, MeshScene, Room

BRUTE_FORCE_DB = 45.0
LENS_DB = 28.0
BAND_PX = 5
RNG = np.random.default_rng(7)


def psnr_db(a, b, where=...):
    error = (np.asarray(a, np.float64) - b)[where]
    return 10 * math.log10(255 ** 2 / max(np.mean(error ** 2), 1e-9))


def texture(size=128, seed=0):
    """Detail at several scales, down to single pixels."""
    rng = np.random.default_rng(seed)
    layers = [weight * cv2.resize(rng.uniform(0, 255, (cells, cells, 3)), (size, size),
                                  interpolation=cv2.INTER_CUBIC)
              for cells, weight in ((4, 0.5), (16, 0.3), (64, 0.2))]
    return np.clip(1.6 * (sum(layers) - 127.5) + 127.5, 0, 255).astype(np.uint8)


def brute_force(image, radius, psf):
    """Each pixel's own point-spread function, term by term; the border mirrored.

    The sum goes over offsets, so that each term is one multiplication of whole pictures.
    """
    height, width = radius.shape
    reach = int(math.ceil(1.75 * radius.max() + 1))
    pad = ((reach, reach), (reach, reach))
    light = np.pad(image.astype(np.float64), (*pad, (0, 0)), mode='reflect')
    radius = np.pad(radius, pad, mode='reflect')
    kernel = (gaussian_terms if psf == 'gaussian' else disc_terms)(radius, reach)
    total, weights = np.zeros((height, width, 3)), np.zeros((height, width, 1))
    for (dy, dx), term in kernel:
        window = (slice(reach - dy, reach - dy + height), slice(reach - dx, reach - dx + width))
        total += term[window][..., None] * light[window]
        weights += term[window][..., None]
    return total / weights


def gaussian_terms(radius, reach):
    along = [ive(offset, 0.25 * radius ** 2) for offset in range(reach + 1)]
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            yield (dy, dx), along[abs(dy)] * along[abs(dx)]


def disc_terms(radius, reach, cells=12):
    at = (np.arange(cells) + 0.5) / cells - 0.5
    limit = np.maximum(radius, 0.25) ** 2

    def cover(dy, dx):
        distances = np.sort((((dy + at)[:, None] ** 2) + (dx + at) ** 2).ravel())
        return np.searchsorted(distances, limit, side='right') / cells ** 2

    # the same eight times round the centre: y and x swapped, and their signs
    wedge = {(dy, dx): cover(dy, dx) for dy in range(reach + 1) for dx in range(dy + 1)}
    offsets = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    area = sum(wedge[max(abs(y), abs(x)), min(abs(y), abs(x))] for y, x in offsets)
    for y, x in offsets:
        yield (y, x), wedge[max(abs(y), abs(x)), min(abs(y), abs(x))] / area


def radius_px(depth, focus_m, lens):
    """Equation 1 as the paper prints it, over the pixel pitch."""
    f, n = lens.focal_length_m, lens.f_number
    return abs(depth - focus_m) * f ** 2 / (2 * n * depth * (focus_m - f)) / lens.pixel_pitch_m


def stepped_depth(height, width):
    """A wall that goes away to the right, and a box before it, metres."""
    depth = np.repeat(np.linspace(0.8, 5.0, width)[None], height, axis=0)
    depth[height // 4:height // 2, width // 4:width // 2] = 0.6
    return depth.astype(np.float32)


@pytest.mark.parametrize('psf', ['gaussian', 'disc'])
@pytest.mark.parametrize(('f_number', 'focus_m'), [(1.4, 0.6), (1.4, 2.0), (4.0, 1.0), (8.0, 3.0),
                                                   (13.0, 0.7)])
@pytest.mark.parametrize('noise', [False, True], ids=['texture', 'noise'])
def test_levels_of_blur_are_as_good_as_one_for_each_pixel(psf, f_number, focus_m, noise):
    height, width = 40, 56
    image = (RNG.integers(0, 256, (height, width, 3), np.uint8) if noise
             else texture(64)[:height, :width])
    depth = stepped_depth(height, width)
    lens = Lens.full_frame(640, 480, 540.0, f_number)
    slice_ = render_slice(image, depth, focus_m, lens, psf)
    true = brute_force(image, radius_px(depth, focus_m, lens), psf)
    assert psnr_db(slice_, true) > BRUTE_FORCE_DB


def lens_picture(scene, intrinsics, pose, lens, focus_m, psf, rays=96):
    """What a true lens sees: views from points of its aperture that agree on the plane in focus.

    Each is ray-cast by Open3D from its own place, with the principal point moved so that what is
    `focus_m` away stays where it is. For a Gaussian, points are dense in the middle.
    """
    # the thin lens's image distance is intrinsics.fx pixels: a lens focused near sits further off
    aperture = lens.focal_length_m / lens.f_number / (1 - lens.focal_length_m / focus_m)
    i = np.arange(rays) + 0.5
    r = np.sqrt(i / rays) if psf == 'disc' else np.sqrt(-2 * np.log(1 - i / rays)) / 2
    angle = i * math.pi * (3 - math.sqrt(5))        # a sunflower: even in area
    total = 0.0
    for u, v in np.stack((r * np.cos(angle), r * np.sin(angle)), axis=1) * aperture / 2:
        moved = pose.copy()
        moved[:3, 3] += pose[:3, :3] @ (u, v, 0)
        sheared = replace(intrinsics, cx=intrinsics.cx + intrinsics.fx * u / focus_m,
                          cy=intrinsics.cy + intrinsics.fy * v / focus_m)
        total = total + scene.render(sheared, moved).rgb.astype(np.float64)
    return total / rays


def depth_edges(depth):
    """Pixels within BAND_PX of where depth jumps or bends."""
    edges = np.zeros(depth.shape, np.uint8)
    edges[:, 1:-1] |= np.abs(np.diff(depth, n=2, axis=1)) > 0.03 * depth[:, 1:-1]
    edges[1:-1] |= np.abs(np.diff(depth, n=2, axis=0)) > 0.03 * depth[1:-1]
    return cv2.dilate(edges, np.ones((2 * BAND_PX + 1, 2 * BAND_PX + 1), np.uint8)) > 0


@pytest.fixture(scope='module', params=[4, 5])
def room(request):
    """A furnished room, its view and the lens that blurs it by up to about 6 pixels."""
    room, intrinsics = Room.random(request.param), Intrinsics.from_hfov(200, 150, 60)
    room.scene.exposure = None          # the same for all places in the aperture
    pose = room.random_pose(np.random.default_rng(request.param + 1))
    lens = Lens.full_frame(200, 150, intrinsics.fx, 1.4 if request.param == 5 else 0.8)
    return room, intrinsics, pose, lens


@pytest.mark.parametrize('psf', ['disc', 'gaussian'])
@pytest.mark.parametrize(('focus_m', 'gain_db'), [(0.7, 6.0), (3.0, 0.0)])
def test_a_furnished_room_looks_as_through_a_true_lens(room, capsys, psf, focus_m, gain_db):
    scene, intrinsics, pose, lens = room
    view = scene.render(intrinsics, pose)
    band = depth_edges(fill_holes(view.depth)[0])
    true = lens_picture(scene, intrinsics, pose, lens, focus_m, psf)
    sharp = psnr_db(view.rgb, true)
    for occlusion in (False, True):
        slice_ = render_slice(view.rgb, view.depth, focus_m, lens, psf, occlusion)
        outside, within = psnr_db(slice_, true, ~band), psnr_db(slice_, true, band)
        with capsys.disabled():
            print(f'\nroom, {psf}, focus {focus_m} m, occlusion {occlusion}: {outside:.1f} dB, '
                  f'at depth edges {within:.1f} dB ({band.mean():.0%} of the picture); '
                  f'all in focus {sharp:.1f} dB')
        assert outside > LENS_DB
        assert within > 26.0
        assert psnr_db(slice_, true) > sharp + gain_db


def board(left, right, top, bottom, near, far, seed):
    """A textured board; its left edge is `near` metres away, its right edge `far`."""
    corners = np.array([[left, top, near], [right, top, far], [right, bottom, far],
                        [left, bottom, near]], np.float32)
    uv = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    return Mesh(corners, triangles, uv[triangles], texture(256, seed))


@pytest.fixture(scope='module')
def boards():
    """Two boards before a wall, hiding one another, and a lens that blurs by up to 6 pixels."""
    scene = MeshScene([board(-6, 6, -5, 5, 4.0, 4.0, 1), board(-.3, .05, -.12, .4, 0.6, 0.8, 2),
                       board(.1, .8, -.5, .3, 1.2, 1.2, 3)], ambient=(1, 1, 1), exposure=None)
    intrinsics = Intrinsics.from_hfov(200, 150, 60)
    return scene, intrinsics, Lens.full_frame(200, 150, intrinsics.fx, 0.7)


@pytest.mark.parametrize('psf', ['disc', 'gaussian'])
@pytest.mark.parametrize(('focus_m', 'gain_db'), [(0.65, 3.0), (1.2, 3.5), (3.8, 8.0)])
def test_near_things_hide_what_is_behind_them(boards, capsys, psf, focus_m, gain_db):
    """In focus they stay clean of blurred walls; out of focus the wall shows through their rim."""
    scene, intrinsics, lens = boards
    view = scene.render(intrinsics, np.eye(4))
    band = depth_edges(view.depth)
    true = lens_picture(scene, intrinsics, np.eye(4), lens, focus_m, psf)
    plain, hiding = (render_slice(view.rgb, view.depth, focus_m, lens, psf, occlusion)
                     for occlusion in (False, True))
    plain_db, hiding_db = (psnr_db(slice_, true, band) for slice_ in (plain, hiding))
    with capsys.disabled():
        print(f'\nboards, {psf}, focus {focus_m} m: {psnr_db(hiding, true, ~band):.1f} dB, '
              f'at depth edges {hiding_db:.1f} dB, {plain_db:.1f} dB without occlusion')
    assert psnr_db(plain, true, ~band) > LENS_DB and psnr_db(hiding, true, ~band) > LENS_DB
    assert hiding_db > 31.0
    assert hiding_db > plain_db + gain_db


@pytest.mark.parametrize('psf', ['disc', 'gaussian'])
@pytest.mark.parametrize('occlusion', [False, True])
@pytest.mark.parametrize('gamma', [1.0, 2.2])
def test_f_number_infinity_is_the_all_in_focus_image(psf, occlusion, gamma):
    image, depth = texture(48, 3), stepped_depth(48, 48)
    depth[:5, :5] = np.nan
    pinhole = Lens(0.05, math.inf, 1e-5)
    slice_ = render_slice(image, depth, 1.0, pinhole, psf, occlusion, gamma)
    assert np.array_equal(slice_, image) and slice_ is not image


@pytest.mark.parametrize('psf', ['disc', 'gaussian'])
@pytest.mark.parametrize('occlusion', [False, True])
def test_what_is_in_focus_stays_as_it_is(psf, occlusion):
    image = texture(48, 4)
    slice_ = render_slice(image, np.full((48, 48), 2.0), 2.0, Lens(0.05, 1.4, 1e-5), psf,
                          occlusion)
    assert np.array_equal(slice_, image)


@pytest.mark.parametrize('f_number', [*LARGE_F_NUMBERS, *SMALL_F_NUMBERS])
def test_a_wider_aperture_blurs_more(f_number):
    image, depth = texture(64, 5), np.full((64, 64), 3.0, np.float32)

    def detail(n):
        slice_ = render_slice(image, depth, 0.6, Lens.full_frame(64, 64, 400.0, n))
        return np.abs(np.diff(slice_.astype(int), axis=1)).mean()

    assert detail(f_number) < detail(math.inf) or math.isinf(f_number)
    assert detail(f_number / 1.3) <= detail(f_number)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 99), focus_m=st.floats(0.2, 50.0), f_number=st.floats(0.7, 22.0),
       psf=st.sampled_from(['gaussian', 'disc']), occlusion=st.booleans(),
       gamma=st.sampled_from([1.0, 2.2]))
def test_a_grey_wall_stays_grey_whatever_its_depth(seed, focus_m, f_number, psf, occlusion, gamma):
    depth = np.random.default_rng(seed).uniform(0.15, 30.0, (17, 23)).astype(np.float32)
    depth[3, 4:9] = np.nan
    image = np.full((17, 23, 3), (200, 90, 31), np.uint8)
    slice_ = render_slice(image, depth, focus_m, Lens(0.03, f_number, 3e-5), psf, occlusion, gamma)
    assert np.abs(slice_.astype(int) - image).max() <= 1


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 99), focus_m=st.floats(0.2, 50.0), psf=st.sampled_from(['gaussian',
       'disc']), occlusion=st.booleans())
def test_a_mirrored_scene_gives_a_mirrored_slice(seed, focus_m, psf, occlusion):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (17, 23, 3), np.uint8)
    depth = rng.uniform(0.3, 9.0, (17, 23)).astype(np.float32)
    lens = Lens(0.03, 2.0, 6e-5)
    slice_ = render_slice(image, depth, focus_m, lens, psf, occlusion)
    mirrored = render_slice(image[:, ::-1].copy(), depth[:, ::-1].copy(), focus_m, lens, psf,
                            occlusion)
    assert np.abs(mirrored[:, ::-1].astype(int) - slice_).max() <= 1


def test_light_mixes_instead_of_values_where_gamma_says_so():
    """Half white, half black is half the light: 128 as values, 186 as a display shows it."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2] = 255
    arguments = (image, np.full((64, 64), 50.0), 0.5, Lens(0.05, 1.4, 1e-4))
    assert abs(int(render_slice(*arguments)[32, 32, 0]) - 127.5) < 2
    light = render_slice(*arguments, gamma=2.2)
    assert abs(int(light[32, 32, 0]) - 255 * 0.5 ** (1 / 2.2)) < 2


def test_holes_are_blurred_as_what_is_1000_m_away():
    image, depth = texture(40, 6), stepped_depth(40, 40)
    holes = depth.copy()
    depth[10:20, 10:30] = HOLE_DEPTH_M
    lens = Lens.full_frame(320, 240, 300.0, 1.4)
    expected = render_slice(image, depth, 0.7, lens)
    for value in (np.nan, np.inf, 0.0, -1.0):
        holes[10:20, 10:30] = value
        assert np.array_equal(render_slice(image, holes, 0.7, lens), expected)


def test_filled_holes_come_with_a_mask_that_leaves_them_out():
    depth = np.array([[1.0, np.nan, 0.0], [-2.0, np.inf, 3.0]])
    filled, valid = fill_holes(depth)
    assert filled.dtype == np.float32
    assert filled.tolist() == [[1.0, 1000.0, 1000.0], [1000.0, 1000.0, 3.0]]
    assert valid.tolist() == [[True, False, False], [False, False, True]]


@pytest.mark.parametrize('occlusion', [False, True])
def test_a_depth_map_of_holes_alone_is_one_far_wall(occlusion):
    image = texture(40, 7)
    lens = Lens.full_frame(320, 240, 300.0, 1.4)
    slice_ = render_slice(image, np.full((40, 40), np.nan), 0.7, lens, occlusion=occlusion)
    wall = render_slice(image, np.full((40, 40), 1000.0), 0.7, lens)
    assert np.abs(slice_.astype(int) - wall).max() <= 1


def test_what_is_absurdly_near_blurs_the_picture_and_nothing_else():
    depth = np.full((30, 40), 2.0, np.float32)
    depth[10:20, 10:20] = 1e-6
    for psf in ('gaussian', 'disc'):
        for occlusion in (False, True):
            slice_ = render_slice(texture(40, 8)[:30], depth, 2.0, Lens(0.05, 0.7, 1e-5), psf,
                                  occlusion)
            assert slice_.shape == (30, 40, 3)


def test_a_stack_is_its_slices_in_the_order_of_the_focus_distances():
    image, depth = texture(40, 9), stepped_depth(40, 40)
    lens = Lens.full_frame(320, 240, 300.0, 2.0)
    distances = [3.0, 0.6, 1.0]
    stack = render_stack(image, depth, distances, lens, 'disc', True, 2.2)
    assert stack.shape == (3, 40, 40, 3) and stack.dtype == np.uint8
    for slice_, focus_m in zip(stack, distances):
        assert np.array_equal(slice_, render_slice(image, depth, focus_m, lens, 'disc', True, 2.2))


def test_what_cannot_be_rendered_is_refused_with_the_way_out():
    image, depth, lens = texture(20), np.ones((20, 20), np.float32), Lens(0.05, 1.4, 1e-5)
    with pytest.raises(OpticsError, match=r'depth is \(20, 10\).*resize one to the other'):
        render_slice(image, depth[:, :10], 1.0, lens)
    with pytest.raises(OpticsError, match=r'image is float64.*must be uint8'):
        render_slice(image / 255.0, depth, 1.0, lens)
    with pytest.raises(OpticsError, match=r'image is uint8 \(20, 20\)'):
        render_slice(image[..., 0], depth, 1.0, lens)
    with pytest.raises(OpticsError, match="'box'; choose one of gaussian, disc"):
        render_slice(image, depth, 1.0, lens, 'box')
    with pytest.raises(OpticsError, match='gamma is 0'):
        render_slice(image, depth, 1.0, lens, gamma=0.0)
    with pytest.raises(OpticsError, match='give at least 1'):
        render_stack(image, depth, [], lens)


@pytest.mark.parametrize('focus_m', [0.0, -1.0, math.nan, 0.05, 0.01])
def test_a_slice_cannot_be_focused_there(focus_m):
    image, depth, lens = texture(20), np.ones((20, 20), np.float32), Lens(0.05, 1.4, 1e-5)
    with pytest.raises(OpticsError, match='focus distance is .* beyond the focal length'):
        render_slice(image, depth, focus_m, lens)
    with pytest.raises(OpticsError, match='focus distance is'):
        render_stack(image, depth, [1.0, focus_m], lens)
