from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from depth_perception.geometry import Intrinsics
from training import compare_models as module
from training.compare_models import main

CAMERA = Intrinsics.from_hfov(64, 48, 63)


@pytest.fixture(autouse=True)
def two_rows(monkeypatch):
    """Two rows of pictures whose depth is 4 m, and one picture without any."""
    def samples(entry):
        for depth in {'rooms': [4.0, 4.0, np.nan], 'office': [2.0]}[entry]:
            yield {'image': np.zeros((48, 64, 3), np.uint8), 'intrinsics': CAMERA,
                   'depth': np.full((48, 64), depth, np.float32)}
    monkeypatch.setattr(module.evaluation, 'rows', lambda: {'rooms': ['rooms'],
                                                            'office': ['office']})
    monkeypatch.setattr(module.evaluation, 'samples', samples)


def test_two_models_are_compared_row_by_row(make_model, tmp_path, capsys):
    before, after = make_model(depth=2.0), make_model(depth=3.0)
    main([str(before), str(after), f'output={tmp_path / "found.json"}'])
    found = json.loads((tmp_path / 'found.json').read_text())
    # off by 2 and 1 of 4 m, by 0 and 1 of 2 m
    assert found['rooms']['before']['abs_rel'] == pytest.approx(0.5)
    assert found['rooms']['after']['abs_rel'] == pytest.approx(0.25)
    assert found['rooms']['frames'] == 2
    assert found['office']['after']['abs_rel'] == pytest.approx(0.5)
    assert found['all']['after']['abs_rel'] == pytest.approx((0.25 + 0.25 + 0.5) / 3)
    assert 'rooms: 2 frames' in capsys.readouterr().out


def test_chosen_rows_alone_are_compared(make_model, tmp_path):
    model = make_model()
    assert set(module.compare_models(model, model, ['office'])) == {'office', 'all'}


@pytest.mark.parametrize(('given', 'message'), [
    (['rows=attic'], "row 'attic' is not available; there are rooms, office"),
    (['row=office'], 'unknown key row'),
])
def test_what_is_wrong_is_said(make_model, given, message):
    model = str(make_model())
    with pytest.raises(SystemExit, match=message):
        main([model, model, *given])


def test_models_that_are_missing_or_relative_are_refused(make_model, tmp_path):
    model = make_model('relative')
    with pytest.raises(SystemExit, match='relative depth'):
        main([str(model), str(model)])
    shutil.rmtree(model.parent)
    with pytest.raises(SystemExit, match='does not exist'):
        main([str(model), str(model)])
