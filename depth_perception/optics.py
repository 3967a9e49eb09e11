"""Thin-lens optics: how large the blur of a point is, what is sharp, and where to focus.

A lens of focal length f and f-number N that is focused at d_f images a point at depth d as a disc
on the sensor, the circle of confusion. Its radius is equation 1 of the depth-from-defocus paper::

    r = f^2 |d - d_f| / (2 N d (d_f - f)) = f^2 / (2 N) * |1/d_f - 1/d| / (1 - f/d_f)

The second form holds at infinity too, and without its last factor (f much shorter than d_f) it is
equation 2: equal steps of 1/d_f are equal steps of blur. Distances are metres from the lens.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import numpy as np

# The paper's bounds of random focus distances in dioptres (1/m): far ones lie at 4 to 20 m, near
# ones at 0.5 to 1 m, whatever the scene, so that they do not tell its scale.
LOWER_DIOPTRE = (0.05, 0.25)
UPPER_DIOPTRE = (1.0, 2.0)
# What the paper trains with: where depth of field is large, and for each single f-number.
LARGE_F_NUMBERS = (10.0, 11.0, 12.0, 13.0, 14.0, 18.0, math.inf)
SMALL_F_NUMBERS = (1.4, 4.0, 8.0)
FULL_FRAME_M = 0.036    # the long side of the sensor that focal lengths in millimetres refer to


class OpticsError(ValueError):
    """A lens, a focus distance or a range of them that cannot be."""


@dataclass(frozen=True)
class Lens:
    """A camera's lens and the pixels behind it.

    Attributes
    ----------
    focal_length_m
        Physical focal length, metres.
    f_number
        Focal length over aperture; `math.inf` is a pinhole, which blurs nothing.
    pixel_pitch_m
        Distance between neighbouring pixels of the image on the sensor, metres. It grows when
        the image is made smaller.

    Raises
    ------
    OpticsError
        If one of them is not above zero, or not a number.
    """

    focal_length_m: float
    f_number: float
    pixel_pitch_m: float

    def __post_init__(self) -> None:
        _check_focal_length(self.focal_length_m)
        _check_f_number(self.f_number)
        if not 0.0 < self.pixel_pitch_m < math.inf:
            raise OpticsError(f'pixel pitch is {self.pixel_pitch_m:g} m; it must be finite and '
                              "above 0: divide the sensor's width by the image's")

    @classmethod
    def full_frame(cls, width: int, height: int, focal_px: float, f_number: float) -> Lens:
        """The lens that sees as an image does, before a sensor whose long side is 36 mm.

        Parameters
        ----------
        width, height : int
            Image size, pixels.
        focal_px : float
            Focal length of the image, pixels.
        f_number : float
        """
        pitch = FULL_FRAME_M / max(width, height)
        return cls(focal_px * pitch, f_number, pitch)

    @property
    def blur_scale_px_m(self) -> float:
        """f^2 / (N * pitch), pixel metres: the blur's diameter per dioptre of defocus."""
        return self.focal_length_m ** 2 / (self.f_number * self.pixel_pitch_m)

    def hyperfocal_m(self, coc_m: float) -> float:
        """The nearest focus distance at which infinity is sharp.

        Parameters
        ----------
        coc_m : float
            Diameter of the largest blur on the sensor that counts as sharp, metres.

        Raises
        ------
        OpticsError
            If `coc_m` is not finite and above zero.
        """
        _check_coc(coc_m)
        return self.focal_length_m ** 2 / (self.f_number * coc_m) + self.focal_length_m

    def depth_of_field(self, focus_m: float, coc_m: float) -> tuple[float, float]:
        """The nearest and the farthest depth that is sharp, metres.

        Parameters
        ----------
        focus_m : float
            Focus distance, metres; may be infinite.
        coc_m : float
            Diameter of the largest blur on the sensor that counts as sharp, metres.

        Returns
        -------
        tuple of float
            The far end is infinite from the hyperfocal distance on; a pinhole has (0, inf).

        Raises
        ------
        OpticsError
            If the lens cannot focus at `focus_m`, or `coc_m` is not finite and above zero.
        """
        check_focus(focus_m, self.focal_length_m)
        _check_coc(coc_m)
        if math.isinf(self.f_number):
            return 0.0, math.inf
        middle = 1.0 / focus_m
        reach = (coc_m * self.f_number / self.focal_length_m ** 2
                 * (1.0 - self.focal_length_m / focus_m))
        far = middle - reach
        # a rounding error below zero, seen from the hyperfocal distance, is infinity as well
        return 1.0 / (middle + reach), 1.0 / far if far > 1e-12 * middle else math.inf


def coc_radius_m(depth_m: float | np.ndarray, focus_m: float | np.ndarray,
                 focal_length_m: float, f_number: float) -> np.ndarray:
    """Radius of the circle of confusion on the sensor, equation 1.

    Parameters
    ----------
    depth_m : float or array, metres
        May be infinite. What is no depth (NaN, zero, negative) has no blur either: NaN.
    focus_m : float or array that broadcasts with `depth_m`, metres
        May be infinite.
    focal_length_m : float
    f_number : float
        May be infinite: the radius is then 0.

    Returns
    -------
    float64, of the broadcast shape, metres

    Raises
    ------
    OpticsError
        If a focus distance is not beyond the focal length, or the lens is none.
    """
    _check_f_number(f_number)
    defocus = np.abs(defocus_dioptre(depth_m, focus_m, focal_length_m))
    return focal_length_m ** 2 / (2.0 * f_number) * defocus


def coc_diameter_px(depth_m: float | np.ndarray, focus_m: float | np.ndarray,
                    lens: Lens) -> np.ndarray:
    """Diameter of the circle of confusion in pixels; otherwise as `coc_radius_m`."""
    return lens.blur_scale_px_m * np.abs(
        defocus_dioptre(depth_m, focus_m, lens.focal_length_m))


def defocus_dioptre(depth_m: float | np.ndarray, focus_m: float | np.ndarray,
                    focal_length_m: float) -> np.ndarray:
    """``(1/d_f - 1/d) / (1 - f/d_f)``, 1/m: positive behind the focus, negative before it.

    Parameters and errors are those of `coc_radius_m`.
    """
    check_focus(focus_m, focal_length_m)
    depth_m = np.asarray(depth_m, np.float64)
    nearness = 1.0 / np.asarray(focus_m, np.float64)
    with np.errstate(divide='ignore', invalid='ignore'):
        inverse = np.where(depth_m > 0.0, 1.0 / depth_m, np.nan)
    return (nearness - inverse) / (1.0 - focal_length_m * nearness)


def focus_distances(count: int, lower_dioptre: float, upper_dioptre: float) -> np.ndarray:
    """Focus distances in equal steps of disparity, so of blur (equation 2).

    Parameters
    ----------
    count : int
        How many; a single one lies in the middle.
    lower_dioptre, upper_dioptre : float
        1 / metres of the farthest and the nearest; 0 is infinity.

    Returns
    -------
    (count,) float64, metres, from near to far

    Raises
    ------
    OpticsError
        If `count` is below 1, or not 0 <= lower < upper.
    """
    if count < 1:
        raise OpticsError(f'a stack of {count} focus distances; give at least 1')
    if not 0.0 <= lower_dioptre < upper_dioptre < math.inf:
        raise OpticsError(f'focus range is {lower_dioptre:g} to {upper_dioptre:g} dioptres; '
                          'give 0 <= lower < upper, where dioptres are 1 / metres')
    if count == 1:
        return np.array([2.0 / (lower_dioptre + upper_dioptre)])
    with np.errstate(divide='ignore'):
        return 1.0 / np.linspace(upper_dioptre, lower_dioptre, count)


def random_focus_distances(rng: np.random.Generator, count: int) -> np.ndarray:
    """`focus_distances` between the paper's random bounds: (count,) metres, near to far."""
    return focus_distances(count, rng.uniform(*LOWER_DIOPTRE), rng.uniform(*UPPER_DIOPTRE))


def check_focus(focus_m: float | np.ndarray, focal_length_m: float) -> None:
    """Raise OpticsError unless a lens of that focal length can focus at each distance."""
    _check_focal_length(focal_length_m)
    focus_m = np.asarray(focus_m, np.float64)
    bad = ~(focus_m > focal_length_m)       # NaN is bad as well
    if bad.any():
        raise OpticsError(f'focus distance is {focus_m[bad].flat[0]:g} m; it must be beyond the '
                          f'focal length of {focal_length_m:g} m, as no image forms inside it')


def _check_focal_length(focal_length_m: float) -> None:
    if not 0.0 < focal_length_m < math.inf:
        raise OpticsError(f'focal length is {focal_length_m:g} m; it must be finite and above 0')


def _check_f_number(f_number: float) -> None:
    if not f_number > 0.0:
        raise OpticsError(f'f-number is {f_number:g}; it must be above 0, and is infinite for a '
                          'pinhole')


def _check_coc(coc_m: float) -> None:
    if not 0.0 < coc_m < math.inf:
        raise OpticsError(f'circle of confusion is {coc_m:g} m; it must be finite and above 0')
