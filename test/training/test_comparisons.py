"""What comparisons claim, and whether their configs and those of the papers fit."""

from __future__ import annotations

import pytest

from training.comparison_report import FAILS, HOLDS, OPEN, judge
from training.comparisons import COMPARISONS, Claim
from training.config import load_config
from training.registry import check
from training.reproduce import CONFIGS, plan, read_setup


def cells_with(**values):
    return {name: {'scores': {'rmse': {'values': x, 'mean': sum(x) / len(x)},
                              'delta1': {'values': x, 'mean': sum(x) / len(x)},
                              'parameters': {'values': x[:1], 'mean': x[0]}}}
            for name, x in values.items()}


@pytest.mark.parametrize(('a', 'b', 'lower', 'higher'), [
    ([1.0, 2.0], [1.5, 2.5], HOLDS, FAILS),
    ([1.0, 3.0], [1.5, 2.5], OPEN, OPEN),
    ([2.0, 3.0], [1.5, 2.5], FAILS, HOLDS),
    ([2.0, 2.0], [2.0, 2.0], FAILS, FAILS),  # equal is no better
])
def test_a_claim_holds_where_every_seed_says_so(a, b, lower, higher):
    cells = cells_with(a=a, b=b)
    assert judge(Claim('', 'rmse', 'a', 'b'), cells)['verdict'] == lower
    assert judge(Claim('', 'delta1', 'a', 'b'), cells)['verdict'] == higher


def test_a_claimed_factor_must_be_reached():
    cells = cells_with(a=[100.0], b=[1500.0])
    reached = judge(Claim('', 'parameters', 'a', 'b', 14.0), cells)
    assert (reached['verdict'], reached['ours']) == (HOLDS, '100 against 1,500, 15.0 times')
    assert judge(Claim('', 'parameters', 'a', 'b', 16.0), cells)['verdict'] == FAILS


@pytest.mark.parametrize('name', COMPARISONS)
def test_the_shipped_configs_fit_their_comparison(name):
    setup, seeds = read_setup(name)
    assert (setup.minutes, seeds) == (3, 3)
    assert setup.base.trainer.ema_decay == 0  # an average would hold the start of a short run
    cells = {cell.name for cell in setup.comparison.cells}
    assert all({x.better, x.worse} <= cells for x in setup.comparison.claims)
    assert 'minutes of training in all' in plan(setup, seeds)


@pytest.mark.parametrize('path', sorted(CONFIGS.glob('*_nyu.yaml')), ids=lambda p: p.stem)
def test_the_full_data_configs_name_what_exists(path):
    if path.stem.startswith('spark'):
        pytest.skip('a config of training.pretrain')
    check(load_config(path))
