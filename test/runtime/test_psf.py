from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest
from scipy.special import ive

from depth_perception.optics import OpticsError
from depth_perception.psf import (
    SHAPES,
    all_radii,
    check_shape,
    disc_kernel,
    gaussian_kernel,
    levels,
    reach_px,
)

shapes = st.sampled_from(SHAPES)


def shares(chosen, radius):
    q = radius * abs(radius)
    return np.array([max(0.0, min(level.a * q + level.b, level.c * q + level.d))
                     for level in chosen])


@given(psf=shapes, radii=st.lists(st.floats(0.0, 200.0), min_size=2, max_size=5))
def test_the_shares_of_a_pixel_add_up_to_its_light_and_to_its_variance(psf, radii):
    chosen = levels(psf, min(radii), max(radii))
    for radius in radii:
        share = shares(chosen, radius)
        assert share.sum() == pytest.approx(1.0, abs=1e-6)
        assert np.count_nonzero(share > 1e-9) <= 2
        assert share @ [level.radius ** 2 for level in chosen] == pytest.approx(
            radius ** 2, abs=1e-6, rel=1e-6)


@given(psf=shapes, radii=st.lists(st.floats(-60.0, 60.0), min_size=2, max_size=5))
def test_pixels_before_the_focus_have_levels_of_their_own(psf, radii):
    chosen = levels(psf, min(radii), max(radii))
    for radius in radii:
        share = shares(chosen, radius)
        assert share.sum() == pytest.approx(1.0, abs=1e-6)
        assert share @ [level.radius ** 2 for level in chosen] == pytest.approx(
            radius ** 2, abs=1e-6, rel=1e-6)
        used = np.flatnonzero(share > 1e-9)
        assert used[-1] - used[0] <= 1, 'neighbours'


@pytest.mark.parametrize('psf', SHAPES)
def test_there_are_no_more_levels_than_the_picture_needs(psf):
    assert [level.radius for level in levels(psf, 0.0, 0.0)] == [0.0]
    assert [level.radius for level in levels(psf, 0.0, 0.3)] == [0.0, 0.5]
    assert len(levels(psf, 4.0, 4.1)) <= 3
    assert len(levels(psf, 0.0, 16.0)) <= 36


@pytest.mark.parametrize('psf', SHAPES)
def test_levels_begin_with_a_sharp_one_and_grow(psf):
    radii = all_radii(psf)
    assert radii[0] == 0.0 and radii[-1] >= 256.0
    assert (np.diff(radii) > 0.0).all()


@pytest.mark.parametrize('variance', [0.01, 0.06, 0.3, 1.0, 7.3, 100.0])
def test_the_gaussian_is_the_discrete_one_of_bessel_functions(variance):
    kernel = gaussian_kernel(variance)
    at = np.arange(len(kernel)) - len(kernel) // 2
    np.testing.assert_allclose(kernel, ive(np.abs(at), variance), atol=2e-3 * kernel.max())
    assert kernel.dtype == np.float32 and kernel.sum() == pytest.approx(1.0, abs=1e-6)
    assert kernel @ at ** 2 == pytest.approx(variance, rel=0.02)


def test_two_gaussians_one_after_the_other_are_one_with_their_variances_added():
    twice = np.convolve(gaussian_kernel(1.0), gaussian_kernel(3.0))
    once = gaussian_kernel(4.0)
    cut = (len(twice) - len(once)) // 2
    np.testing.assert_allclose(twice[cut:-cut], once, atol=1e-3)


@pytest.mark.parametrize('radius', [0.0, 0.2, 0.5])
def test_a_disc_within_its_pixel_spreads_nothing(radius):
    kernel = disc_kernel(radius)
    assert kernel.max() == 1.0 and np.count_nonzero(kernel) == 1


@pytest.mark.parametrize('radius', [1.5, 4.0, 9.3])
def test_a_disc_covers_its_area_and_has_the_variance_of_a_gaussian_of_half_its_radius(radius):
    kernel = disc_kernel(radius)
    at = np.arange(len(kernel)) - len(kernel) // 2
    assert kernel.sum() == pytest.approx(1.0, abs=1e-6)
    assert 1.0 / kernel.max() == pytest.approx(np.pi * radius ** 2, rel=0.02)
    # the pixels that share the light add their own width
    assert kernel.sum(axis=0) @ at ** 2 == pytest.approx(radius ** 2 / 4 + 1 / 12, abs=0.1)
    assert np.array_equal(kernel, kernel.T) and np.array_equal(kernel, kernel[::-1])


@given(psf=shapes, radius=st.floats(0.0, 60.0))
def test_no_kernel_is_wider_than_its_reach(psf, radius):
    kernel = disc_kernel(radius) if psf == 'disc' else gaussian_kernel(0.25 * radius ** 2)
    assert len(kernel) // 2 <= reach_px(radius)


def test_an_unknown_shape_is_refused_with_the_known_ones():
    with pytest.raises(OpticsError, match="'box'; choose one of gaussian, disc"):
        check_shape('box')
