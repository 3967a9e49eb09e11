import math

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.optics import (
    LOWER_DIOPTRE,
    UPPER_DIOPTRE,
    Lens,
    OpticsError,
    coc_diameter_px,
    coc_radius_m,
    defocus_dioptre,
    focus_distances,
    random_focus_distances,
)

NORMAL = Lens(0.05, 1.4, 36e-3 / 640)       # 50 mm, f/1.4, 640 pixels over 36 mm

lenses = st.builds(Lens, st.floats(0.003, 0.1), st.floats(0.7, 32.0), st.floats(1e-6, 2e-4))
depths = st.floats(0.15, 1000.0)
focuses = st.floats(0.15, 100.0)


def test_a_50_mm_lens_at_f1_4_focused_at_1_m_blurs_2_m_by_0_940_mm():
    radius = coc_radius_m(2.0, 1.0, 0.05, 1.4)
    assert 2e3 * radius == pytest.approx(0.940, abs=5e-4)
    assert coc_diameter_px(2.0, 1.0, NORMAL) == pytest.approx(0.940 / 36 * 640, rel=1e-3)


def test_equation_1_is_half_the_diameter_by_similar_triangles():
    """Image distances from the thin-lens equation, then the cone of light behind the lens."""
    f, n, focus, depth = 0.035, 2.8, 1.5, 0.7
    sensor, sharp = (1.0 / (1.0 / f - 1.0 / d) for d in (focus, depth))
    diameter = (f / n) * abs(sensor - sharp) / sharp
    assert coc_radius_m(depth, focus, f, n) == pytest.approx(diameter / 2)


@given(depth=depths, focus=focuses, lens=lenses)
def test_the_blur_is_that_of_the_papers_equation(depth, focus, lens):
    f, n = lens.focal_length_m, lens.f_number
    expected = abs(depth - focus) * f ** 2 / (2 * n * depth * (focus - f))
    assert coc_radius_m(depth, focus, f, n) == pytest.approx(expected, rel=1e-6, abs=1e-15)


@given(focus=focuses, lens=lenses)
def test_what_is_in_focus_has_no_blur(focus, lens):
    assert coc_diameter_px(focus, focus, lens) == 0.0


@given(lens=lenses, depth=depths, lower=st.floats(0.05, 0.25), upper=st.floats(1.0, 2.0))
def test_even_steps_of_disparity_are_even_steps_of_defocus(lens, depth, lower, upper):
    """Equation 2: exact but for the factor 1 - f/d_f, which it drops."""
    focus = focus_distances(7, lower, upper)
    f = lens.focal_length_m
    signed = defocus_dioptre(depth, focus, f)
    steps = np.diff(signed * (1.0 - f / focus))
    np.testing.assert_allclose(steps, (lower - upper) / 6, rtol=1e-9)
    # with the factor, as lenses are: off by no more than it moves between the two ends
    true_steps = np.diff(signed)
    assert np.abs(true_steps / steps - 1.0).max() < (upper + 2.0 / depth + 2.0) * 2 * f


@given(depth=depths, focus=focuses, lens=lenses)
def test_the_blur_grows_with_defocus_on_both_sides(depth, focus, lens):
    further = depth * 1.1 if depth >= focus else depth / 1.1
    assert coc_diameter_px(further, focus, lens) > coc_diameter_px(depth, focus, lens)


def test_infinity_is_a_depth_and_a_focus_distance():
    f, n = 0.05, 2.0
    assert coc_radius_m(math.inf, 2.0, f, n) == pytest.approx(f ** 2 / (2 * n * (2.0 - f)))
    assert coc_radius_m(2.0, math.inf, f, n) == pytest.approx(f ** 2 / (2 * n * 2.0))
    assert coc_radius_m(math.inf, math.inf, f, n) == 0.0


def test_a_pinhole_blurs_nothing_and_keeps_all_sharp():
    pinhole = Lens(0.05, math.inf, 1e-5)
    assert pinhole.blur_scale_px_m == 0.0
    assert coc_radius_m(0.3, 2.0, 0.05, math.inf) == 0.0
    assert not coc_diameter_px(np.array([0.3, 2.0, math.inf]), 2.0, pinhole).any()
    assert pinhole.depth_of_field(2.0, 3e-5) == (0.0, math.inf)


def test_what_is_no_depth_has_no_blur_and_warns_nobody():
    depth = np.array([[np.nan, 0.0], [-1.0, 2.0]], np.float32)
    radius = coc_radius_m(depth, 1.0, 0.05, 1.4)
    assert np.array_equal(np.isnan(radius), [[True, True], [True, False]])


def test_depths_and_focus_distances_broadcast():
    depth, focus = np.array([[0.5, 1.0, 4.0]]), np.array([[0.7], [2.0]])
    blur = coc_diameter_px(depth, focus, NORMAL)
    assert blur.shape == (2, 3)
    assert blur[1, 2] == pytest.approx(coc_diameter_px(4.0, 2.0, NORMAL))


@given(lens=lenses, depth=depths, focus=focuses)
def test_the_blur_scale_is_pixels_of_diameter_per_dioptre(lens, depth, focus):
    expected = lens.blur_scale_px_m * abs(defocus_dioptre(depth, focus, lens.focal_length_m))
    assert coc_diameter_px(depth, focus, lens) == pytest.approx(expected)
    metres = 2 * coc_radius_m(depth, focus, lens.focal_length_m, lens.f_number)
    assert metres / lens.pixel_pitch_m == pytest.approx(expected)


def test_depth_of_field_of_a_textbook_lens():
    """f^2 d / (f^2 +- N c (d - f)), as textbooks print it."""
    f, n, c, d = 0.05, 8.0, 3e-5, 4.0
    near, far = Lens(f, n, 1e-5).depth_of_field(d, c)
    assert near == pytest.approx(d * f ** 2 / (f ** 2 + n * c * (d - f)))
    assert far == pytest.approx(d * f ** 2 / (f ** 2 - n * c * (d - f)))


@given(lens=lenses, focus=focuses, coc=st.floats(1e-6, 1e-4))
def test_the_ends_of_the_depth_of_field_have_the_blur_that_was_asked_for(lens, focus, coc):
    near, far = lens.depth_of_field(focus, coc)
    assert near < focus < far
    f, n = lens.focal_length_m, lens.f_number
    assert 2 * coc_radius_m(near, focus, f, n) == pytest.approx(coc)
    if math.isfinite(far):
        assert 2 * coc_radius_m(far, focus, f, n) == pytest.approx(coc, rel=1e-3)
    else:
        assert 2 * coc_radius_m(math.inf, focus, f, n) <= coc * (1 + 1e-9)


@given(lens=lenses, coc=st.floats(1e-6, 1e-4))
def test_from_the_hyperfocal_distance_on_infinity_is_sharp(lens, coc):
    hyperfocal = lens.hyperfocal_m(coc)
    assert lens.depth_of_field(hyperfocal, coc)[1] == math.inf
    assert lens.depth_of_field(hyperfocal, coc)[0] == pytest.approx(hyperfocal / 2)
    assert math.isfinite(lens.depth_of_field(0.99 * hyperfocal, coc)[1])


def test_the_full_frame_lens_of_an_image_sees_what_the_image_sees():
    lens = Lens.full_frame(640, 480, focal_px=640 * 50 / 36, f_number=1.4)
    assert lens.focal_length_m == pytest.approx(0.05)
    assert lens.pixel_pitch_m == pytest.approx(36e-3 / 640)
    assert Lens.full_frame(480, 640, 640 * 50 / 36, 1.4) == lens


def test_focus_distances_run_from_near_to_far_in_even_steps_of_disparity():
    distances = focus_distances(4, 0.1, 1.0)
    np.testing.assert_allclose(distances, [1.0, 1 / 0.7, 1 / 0.4, 10.0])


def test_a_range_down_to_zero_dioptres_ends_at_infinity():
    assert focus_distances(3, 0.0, 2.0).tolist() == [0.5, 1.0, math.inf]


def test_one_focus_distance_lies_in_the_middle():
    np.testing.assert_allclose(focus_distances(1, 0.5, 1.5), [1.0])


@given(seed=st.integers(0, 10_000), count=st.integers(2, 12))
def test_random_focus_distances_keep_to_the_papers_bounds(seed, count):
    distances = random_focus_distances(np.random.default_rng(seed), count)
    assert distances.shape == (count,)
    assert 1 / UPPER_DIOPTRE[1] <= distances[0] <= 1 / UPPER_DIOPTRE[0]
    assert 1 / LOWER_DIOPTRE[1] <= distances[-1] <= 1 / LOWER_DIOPTRE[0]
    np.testing.assert_allclose(np.diff(1 / distances, n=2), 0.0, atol=1e-9)


def test_random_focus_distances_have_the_papers_means():
    """Means of 1/U: ln(b/a) / (b - a), that is 8.05 m at the far end and 0.69 m at the near."""
    rng = np.random.default_rng(0)
    stacks = np.array([random_focus_distances(rng, 5) for _ in range(4000)])
    assert stacks[:, -1].mean() == pytest.approx(np.log(5) / 0.2, rel=0.03)
    assert stacks[:, 0].mean() == pytest.approx(np.log(2), rel=0.03)


@pytest.mark.parametrize('focus', [0.0, -1.0, math.nan, 0.05, 0.03, -math.inf])
def test_a_lens_cannot_focus_there(focus):
    message = r'focus distance is .* beyond the focal length of 0\.05 m'
    for call in (lambda: coc_radius_m(1.0, focus, 0.05, 2.0),
                 lambda: coc_diameter_px(1.0, focus, NORMAL),
                 lambda: coc_radius_m(1.0, np.array([1.0, focus]), 0.05, 2.0),
                 lambda: NORMAL.depth_of_field(focus, 3e-5)):
        with pytest.raises(OpticsError, match=message):
            call()


@pytest.mark.parametrize('f_number', [0.0, -1.4, math.nan, -math.inf])
def test_an_f_number_must_be_above_zero(f_number):
    with pytest.raises(OpticsError, match='f-number is .* above 0'):
        Lens(0.05, f_number, 1e-5)
    with pytest.raises(OpticsError, match='f-number is'):
        coc_radius_m(1.0, 2.0, 0.05, f_number)


@pytest.mark.parametrize('value', [0.0, -0.05, math.nan, math.inf])
def test_focal_length_pitch_and_circle_of_confusion_must_be_positive_numbers(value):
    with pytest.raises(OpticsError, match='focal length is'):
        Lens(value, 2.0, 1e-5)
    with pytest.raises(OpticsError, match='focal length is'):
        coc_radius_m(1.0, 2.0, value, 2.0)
    with pytest.raises(OpticsError, match="pixel pitch is .* divide the sensor's width"):
        Lens(0.05, 2.0, value)
    with pytest.raises(OpticsError, match='circle of confusion is'):
        NORMAL.hyperfocal_m(value)
    with pytest.raises(OpticsError, match='circle of confusion is'):
        NORMAL.depth_of_field(2.0, value)


@pytest.mark.parametrize('bounds', [(1.0, 1.0), (2.0, 1.0), (-0.1, 1.0), (0.1, math.inf),
                                    (math.nan, 1.0), (0.1, math.nan)])
def test_a_focus_range_must_go_upwards_from_zero_dioptres(bounds):
    with pytest.raises(OpticsError, match='0 <= lower < upper'):
        focus_distances(5, *bounds)


@pytest.mark.parametrize('count', [0, -3])
def test_a_stack_has_at_least_one_slice(count):
    with pytest.raises(OpticsError, match='at least 1'):
        focus_distances(count, 0.1, 1.0)
