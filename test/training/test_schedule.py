"""The weights of SPT-Depth's loss over its epochs, against the paper's figures and sentences."""

from __future__ import annotations

import math

import cv2
import pytest

from training.config import ConfigError, Epochs
from training.schedule import (
    fx_at,
    main,
    named_scheme,
    samples_at,
    schemes,
    threshold,
    weights_at,
)

# Rows of table 2, as printed: schemes 1 to 8.
PRINTED = {
    'depth_datum': (0.7,) * 8,
    'seg_penalty_factor': (3.0,) * 8,
    'mse_factor': (0.2,) * 8,
    'ssim_factor': (0.5,) * 8,
    'smooth_factor': (0.5,) * 8,
    'attenuation': (6.0,) * 8,
    'segmentation_factor': (0.5,) * 8,
    'depth_in_factor': (0.5, 0.6, 0.5, 0.6, 0.5, 0.6, 0.5, 0.6),
    'depth_out_factor': (0.5, 0.4, 0.5, 0.4, 0.5, 0.4, 0.5, 0.4),
    'fine_threshold_factor': (0.4, 0.4, 0.5, 0.5, 0.5, 0.4, 0.5, 0.5),
    'coarse_threshold_factor': (5.0, 5.0, 5.0, 7.0, 5.0, 5.0, 5.0, 5.0),
    'fx': (2.5, 2.5, 2.5, 2.5, 3.5, 3.5, 2.5, 2.5),
    'fx_min': (0.5, 0.3, 0.5, 0.5, 0.5, 0.3, 0.5, 0.5),
}


@pytest.mark.parametrize('name', PRINTED)
def test_the_eight_schemes_are_those_of_table_2(name):
    assert list(schemes()) == [f'scheme{i}' for i in range(1, 9)]
    assert tuple(getattr(scheme, name) for scheme in schemes().values()) == PRINTED[name]


def test_a_scheme_that_does_not_exist_lists_those_that_do():
    with pytest.raises(ConfigError, match="'scheme9' does not exist; choose one of scheme1"):
        named_scheme('scheme9')


@pytest.mark.parametrize(('epoch', 'expected'), [
    (0, 2.5), (1, 2.5 / math.sqrt(6)), (2, 2.5 / math.sqrt(12)), (3, 2.5 / math.sqrt(18)),
    (4, 2.5 / math.sqrt(24)), (5, 0.5), (44, 0.5),
])
def test_fx_falls_with_the_root_of_the_epoch_to_its_least_value(epoch, expected):
    assert fx_at(named_scheme('scheme7'), epoch) == pytest.approx(expected)


def test_fx_stops_at_the_least_value_of_the_scheme():
    assert fx_at(named_scheme('scheme2'), 11) == pytest.approx(2.5 / math.sqrt(66))
    assert fx_at(named_scheme('scheme2'), 44) == 0.3
    assert fx_at(named_scheme('scheme5'), 0) == 3.5


def test_the_weight_of_the_mse_is_what_the_paper_says():
    # "when fx equals 2.5, the weight of the MSE loss is 0.5, gradually decaying to 0.1 after 10
    # epochs", before alpha and beta.
    scheme = named_scheme('scheme7')
    first, late = weights_at(scheme, 0), weights_at(scheme, 10)
    assert first.data / 0.5 == pytest.approx(0.5)
    assert late.data / 0.5 == pytest.approx(0.1)
    assert late.ssim == late.smooth == pytest.approx(0.5 * 0.5)


def test_half_of_the_loss_is_depth_and_a_quarter_each_cross_entropy_and_penalty():
    weights = weights_at(named_scheme('scheme7'), 20)
    assert weights.segmentation == weights.penalty == 0.25
    assert weights.data / (0.2 * 0.5) == pytest.approx(0.5)


@pytest.mark.parametrize(('name', 'epoch', 'expected'), [
    ('scheme7', 0, 1.0), ('scheme7', 9, 0.5), ('scheme4', 0, 1.4), ('scheme4', 9, 0.5),
    ('scheme7', 3, (5 - 2.5 / 3) / 5),
    ('scheme7', 10, 1.0), ('scheme7', 44, 1.0), ('scheme1', 10, 0.8), ('scheme6', 44, 0.8),
])
def test_the_coarse_factor_falls_in_a_line_and_the_fine_one_stays(name, epoch, expected):
    assert threshold(named_scheme(name), epoch) == pytest.approx(expected)


def test_foreground_and_background_are_weighed_as_the_scheme_says():
    even, uneven = (weights_at(named_scheme(x), 0) for x in ('scheme7', 'scheme8'))
    assert (even.background, even.foreground) == (1.0, 1.0)
    assert (uneven.background, uneven.foreground) == pytest.approx((1.2, 0.8))


@pytest.mark.parametrize(('epoch', 'expected'), [
    (0, 20), (4, 20), (5, 40), (10, 80), (15, 160), (20, 160), (44, 160), (10**6, 160)])
def test_samples_double_every_few_epochs_up_to_their_limit(epoch, expected):
    assert samples_at(epoch, Epochs(count=45)) == expected


def test_the_limit_of_samples_is_a_setting():
    assert samples_at(44, Epochs(count=45, most_samples=640)) == 640
    assert samples_at(2, Epochs(count=45, double_every=1)) == 80
    with pytest.raises(ConfigError, match='epochs.most_samples is 0; it must be at least 1'):
        Epochs(most_samples=0)


def test_the_plot_is_a_picture_of_every_epoch(tmp_path, capsys):
    path = tmp_path / 'x' / 'plot.png'
    main([f'file={path}', 'scheme=scheme4', 'epochs=12', 'most_samples=640'])
    assert capsys.readouterr().out.strip() == str(path)
    picture = cv2.imread(str(path))
    assert picture.shape == (700, 800, 3)
    assert len(set(map(tuple, picture.reshape(-1, 3)[::7]))) > 8  # lines of several colours


@pytest.mark.parametrize(('argument', 'message'), [
    ('scheme=best', "scheme 'best' does not exist; choose one of scheme1"),
    ('schema=x', 'unknown key schema; the nearest known is scheme'),
    ('epochs=many', "epochs.count is 'many'; its type must be int"),
])
def test_a_wrong_argument_ends_the_command_with_a_sentence(argument, message):
    with pytest.raises(SystemExit, match=message):
        main([argument])
