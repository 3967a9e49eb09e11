from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training import evaluate as module
from training.config import load_config
from training.data import Baselines
from training.evaluate import (
    MEAN,
    MEDIAN,
    MODEL,
    accuracy,
    as_table,
    score,
    score_picture,
    summarise,
)
from training.sheet import Sheet, error_picture

TRUTH = np.array([[1.0, 2.0], [4.0, np.nan]], np.float32)


def picture(model, mean, median):
    keys = ('abs_rel', 'rmse', 'delta1', 'abs_rel_median', 'rmse_median', 'delta1_median')
    return {who: dict.fromkeys(keys, value)
            for who, value in ((MODEL, model), (MEAN, mean), (MEDIAN, median))}


def test_a_prediction_of_twice_the_depth_is_all_wrong_unaligned_and_all_right_aligned():
    scores = score(2 * TRUTH, TRUTH)
    assert scores['abs_rel'] == pytest.approx(1.0)
    assert scores['rmse'] == pytest.approx(np.sqrt((1 + 4 + 16) / 3))
    assert scores['delta1'] == 0
    assert scores['abs_rel_median'] == pytest.approx(0, abs=1e-6)
    assert scores['delta1_median'] == 1


def test_the_baselines_are_scored_as_if_they_were_predictions():
    base = Baselines(np.full((1, 1), 2.0, np.float32), 4.0)
    scores = score_picture(TRUTH, TRUTH, base)
    assert scores[MODEL]['abs_rel'] == 0
    assert scores[MEAN]['abs_rel'] == pytest.approx((1 + 0 + 0.5) / 3)
    assert scores[MEDIAN]['abs_rel'] == pytest.approx((3 + 1 + 0) / 3)


def test_the_model_is_compared_with_the_baseline_that_is_better_on_the_row():
    row = summarise([picture(0.2, 0.5, 0.4), picture(0.4, 0.9, 0.6)])
    compared = row['compared']['abs_rel']
    assert row['n'] == 2
    assert compared['better_baseline'] == MEDIAN
    assert compared['gain'] == pytest.approx(1 - 0.3 / 0.5)
    assert compared['difference']['mean'] == pytest.approx(-0.2)
    assert compared['difference']['low'] == pytest.approx(-0.2)
    assert compared['difference']['high'] == pytest.approx(-0.2)


def test_a_picture_without_truth_does_not_count():
    nowhere = picture(np.nan, np.nan, np.nan)
    assert summarise([picture(0.2, 0.5, 0.4), nowhere])['n'] == 1


def test_the_contract_gets_the_pooled_rows_only():
    row = summarise([picture(0.25, 0.5, 0.4)])
    assert accuracy({'rooms': row, 'pooled: held-out scenes': row}) == {
        'held-out scenes': {'abs_rel': 0.25, 'rmse': 0.25, 'delta1': 0.25}}


def test_the_table_has_a_line_for_each_row():
    row = summarise([picture(0.25, 0.5, 0.4)])
    assert as_table({'a': row, 'b': row}).row_count == 2


def test_the_error_picture_is_red_where_too_far_blue_where_too_near_and_black_where_unknown():
    truth = np.array([[1.0, 1.0, 1.0, np.nan]])
    depth = np.array([[2.0, 0.5, 1.0, 1.0]])
    assert error_picture(depth, truth).tolist() == [
        [[0, 0, 255], [255, 0, 0], [255, 255, 255], [0, 0, 0]]]


def test_a_sheet_keeps_so_many_lines_spread_over_all(tmp_path):
    cv2 = pytest.importorskip('cv2')
    sheet = Sheet(2)
    for level in (0, 50, 100, 150):
        image = np.full((60, 80, 3), level, np.uint8)
        sheet.add(image, np.ones((60, 80)), np.ones((60, 80)))
    sheet.write(tmp_path / 'x.jpg')
    drawn = cv2.imread(str(tmp_path / 'x.jpg'))
    assert drawn.shape == (2 * 180, 4 * 240, 3)
    assert drawn[90, 120] == pytest.approx(0, abs=3)
    assert drawn[270, 120] == pytest.approx(100, abs=3)


CONFIG = str(Path(__file__).parents[2] / 'training/configs/realtime_unet_m.yaml')


def test_a_config_evaluates_the_exported_file_of_its_name(monkeypatch):
    asked = []
    monkeypatch.setattr(module, 'evaluate', lambda *given: asked.append(given))
    module.main([CONFIG, 'folder=there'])
    assert asked == [(load_config(CONFIG), Path('depth_perception/models/realtime_unet_m.onnx'),
                      Path('there'))]


def test_a_key_for_checkpoints_is_refused_with_a_config():
    with pytest.raises(SystemExit, match='unknown key align'):
        module.main([CONFIG, 'align=median'])
