"""Attention's time and memory: the counter of bytes, the fit, and what the command writes."""

from __future__ import annotations

import io
import json

import cv2
import pytest
from rich.console import Console
import torch

from training.attention_cost import (
    WIDTH,
    PeakMemory,
    exponent,
    gflop,
    layers,
    main,
    peak_mib,
    write_attention_cost,
)


def test_the_peak_is_what_tensors_hold_at_once():
    with PeakMemory() as memory:
        a = torch.zeros(1000)  # 4,000 bytes
        b = a + 1
        assert memory.held == 8000
        del a
        c = b.view(10, 100)  # a view holds nothing of its own
        assert memory.held == 4000 and memory.peak == 8000
        del b, c
    assert memory.held == 0


def test_the_exponent_is_the_slope_over_the_three_largest_sizes():
    tokens = [10, 100, 200, 400]
    assert exponent(tokens, [1.0, 3 * 100**2, 3 * 200**2, 3 * 400**2]) == pytest.approx(2)
    assert exponent(tokens, [99.0, 100, 200, 400]) == pytest.approx(1)


def test_memory_of_ordinary_attention_is_quadratic_and_of_linear_sra_linear():
    tokens = [24**2, 32**2, 48**2]
    slopes = {
        name: exponent(tokens, [peak_mib(layer, (n, n)) for n in (24, 32, 48)])
        for name, layer in layers().items()
    }
    assert slopes['ordinary'] > 1.8
    assert slopes['linear SRA'] == pytest.approx(1, abs=0.15)


def test_scores_are_the_most_of_what_ordinary_attention_holds():
    tokens, layer = 48**2, layers()['ordinary']
    scores_mib = tokens**2 * 4 / 2**20
    assert scores_mib < peak_mib(layer, (48, 48)) < 3.5 * scores_mib
    assert peak_mib(layer, (48, 48), fused=True) < scores_mib


def test_operations_are_counted_as_the_formulas_say():
    n = 10_000
    assert gflop('ordinary', n) == pytest.approx(
        (4 * n * n * WIDTH + 4 * n * WIDTH**2 + 4 * n * WIDTH**2) / 1e9)
    linear = [gflop('linear SRA', x) for x in (n, 2 * n, 4 * n)]
    assert exponent([n, 2 * n, 4 * n], linear) == pytest.approx(1, abs=0.01)


def test_the_result_is_a_table_a_plot_and_json(tmp_path):
    text = io.StringIO()
    results = write_attention_cost(tmp_path / 'out', Console(file=text, width=200), (32, 48, 64))
    assert json.loads((tmp_path / 'out/attention.json').read_text()) == results
    assert results['tokens'] == [64, 144, 256]
    lines = (tmp_path / 'out/attention.md').read_text().splitlines()
    table = [line for line in lines if line.startswith('|')]
    assert len({line.count('|') for line in table}) == 1 and len(table) == 2 + 3 * 3
    assert cv2.imread(str(tmp_path / 'out/attention.png')).shape == (400, 900, 3)
    assert 'ordinary, MiB' in text.getvalue()


@pytest.mark.parametrize(('argument', 'message'), [
    ('sizes=64', 'give at least 3 numbers of 32 px or more'),
    ('sizes=a,b,c', 'give at least 3 numbers'),
    ('folder=x', 'unknown key folder; the keys are output and sizes'),
])
def test_a_wrong_argument_ends_the_command_with_a_sentence(argument, message):
    with pytest.raises(SystemExit, match=message):
        main([argument])
