from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
import pytest

from depth_perception.calibration import CalibrationError
from depth_perception.focus_stack import FocusError
from depth_perception.focus_table import FocusTable, read_focus_table

TABLE = FocusTable([0, 100, 250], [10.0, 0.5, 0.2])


def test_between_its_points_a_focus_table_is_even_in_dioptres():
    assert TABLE.limits_m == pytest.approx((0.2, 10.0))
    assert TABLE.distance(50) == pytest.approx(1 / ((0.1 + 2.0) / 2))
    assert TABLE.position(1 / 1.05) == pytest.approx(50)
    assert TABLE.position(50.0) == 0 and TABLE.position(0.1) == 250


@given(st.floats(0.2, 10.0))
def test_a_position_of_a_distance_leads_back_to_it(distance):
    assert TABLE.distance(TABLE.position(distance)) == pytest.approx(distance)


def test_a_focus_table_may_reach_to_infinity():
    table = FocusTable([0, 250], [math.inf, 0.5])
    assert table.distance(0) == math.inf and table.position(math.inf) == 0
    assert table.limits_m == (0.5, math.inf)


@pytest.mark.parametrize(('positions', 'metres', 'text'), [
    ([0], [1.0], 'at least two'), ([0, 1], [1.0], 'as many of each'),
    ([1, 0], [1.0, 2.0], 'positions must rise'), ([0, 1, 2], [1.0, 2.0, 1.5], 'all rise'),
    ([0, 1], [1.0, 1.0], 'all rise')])
def test_a_focus_table_in_no_order_is_refused(positions, metres, text):
    with pytest.raises(CalibrationError, match=text):
        FocusTable(positions, metres)


def test_a_focus_table_with_a_distance_that_is_none_is_refused():
    with pytest.raises(FocusError, match='above 0'):
        FocusTable([0, 1], [1.0, 0.0])


def test_a_focus_table_is_read_from_its_file(tmp_path):
    file = tmp_path / 'lens.yaml'
    file.write_text('positions: [0, 100]\ndistances: [.inf, 0.5]\n')
    assert read_focus_table(file).limits_m == (0.5, math.inf)
    for text in ('positions: [0, 100]', 'positions: [a]\ndistances: [1]', '[1, 2', ''):
        file.write_text(text)
        with pytest.raises(CalibrationError):
            read_focus_table(file)
    with pytest.raises(CalibrationError, match='cannot be read'):
        read_focus_table(tmp_path / 'none.yaml')
