"""What the diagnostics remember and say, on a clock that the test moves."""

from __future__ import annotations

import ast
from pathlib import Path
import runpy

import pytest

from depth_perception.nodes._codes import CODES, code_of
from depth_perception.nodes._diagnostics import (
    Finding,
    Level,
    Tally,
    clipped,
    sentences,
    summary,
)
from depth_perception.nodes._frame_loop import REASONS

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tally(clock):
    return Tally(clock)


def test_an_error_stands_until_the_next_output(tally, clock):
    tally.trouble('rejected.size', 'wrong size', Level.ERROR)
    clock.now += 60.0
    assert tally.findings() == [Finding(Level.ERROR, 'wrong size', 'FRAME_SIZE_CHANGED')]
    tally.output()
    assert tally.findings() == []


def test_an_error_does_not_stand_where_nobody_asks_for_anything(tally, clock):
    tally.trouble('rejected.size', 'wrong size', Level.ERROR)
    clock.now += 1.0
    tally.idle()
    assert [finding.level for finding in tally.findings()] == [Level.WARN]
    clock.now += 10.0
    assert tally.findings() == []
    assert tally.counts()['skipped.no subscriber'] == 1


def test_after_an_output_an_error_is_a_warning_for_ten_seconds(tally, clock):
    tally.trouble('rejected.size', 'wrong size', Level.ERROR)
    clock.now += 1.0
    tally.output()
    assert tally.findings() == [Finding(Level.WARN, 'wrong size', 'FRAME_SIZE_CHANGED')]
    clock.now += 10.0
    assert tally.findings() == []


def test_the_latest_trouble_comes_first(tally, clock):
    tally.trouble('a', 'first', Level.WARN)
    clock.now += 1.0
    tally.trouble('b', 'second', Level.WARN)
    assert [finding.text for finding in tally.findings()] == ['second', 'first']


def test_the_same_trouble_is_logged_once_in_five_seconds_but_counted_each_time(tally, clock):
    logged = []
    for _ in range(60):
        logged.append(tally.trouble('size', 'wrong size', Level.ERROR))
        clock.now += 0.125
    assert sum(logged) == 2 and logged[0] and logged[40]
    assert tally.counts() == {'size': 60}


def test_news_about_a_trouble_is_logged_after_a_second(tally, clock):
    assert tally.trouble('size', '2 against 3', Level.ERROR)
    clock.now += 0.5
    assert not tally.trouble('size', '2 against 4', Level.ERROR)
    clock.now += 0.6
    assert tally.trouble('size', '2 against 5', Level.ERROR)


def test_the_summary_is_what_is_worst_said_once():
    found = [Finding(Level.WARN, 'slow', 'S'), Finding(Level.ERROR, 'blind', 'B'),
             Finding(Level.ERROR, 'deaf', 'D'), Finding(Level.ERROR, 'blind', 'B')]
    assert summary(found, 'fine') == Finding(Level.ERROR, 'blind; deaf', 'B D S')
    assert summary([], 'fine') == Finding(Level.OK, 'fine', 'OK')
    assert summary([Finding(Level.OK, 'idle', 'I')], 'fine') == Finding(Level.OK, 'idle', 'I')


def test_a_refusal_that_is_no_fault_of_the_node_stays_ok(tally, clock):
    tally.trouble('parameters refused', 'too small', Level.OK)
    assert tally.findings() == [Finding(Level.OK, 'too small', 'PARAMETER_REFUSED')]
    clock.now += 10.0
    assert tally.findings() == []


def test_a_text_of_any_length_is_clipped_in_its_middle():
    assert clipped('short') == 'short'
    text = clipped('got ' + 'x' * 10_000 + ': do this')
    assert len(text) < 650 and text.startswith('got xx') and text.endswith('xx: do this')


def test_what_is_said_is_told_code_by_code():
    found = [Finding(Level.OK, 'idle', 'IDLE'), Finding(Level.WARN, 'left', 'NO_PUBLISHER'),
             Finding(Level.WARN, 'right', 'NO_PUBLISHER')]
    assert summary(found, 'fine').code == 'NO_PUBLISHER IDLE'
    assert sentences(found) == {'IDLE': 'idle', 'NO_PUBLISHER': 'left; right'}


@pytest.mark.parametrize('counter, code', [
    ('rejected.message', 'MESSAGE_MALFORMED'), ('restart.moved', 'STACK_RESTARTED'),
    ('odd thing', 'ODD_THING'),
])
def test_a_counter_has_a_code(counter, code):
    assert code_of(counter) == code


def calls_in_nodes():
    for path in sorted((ROOT / 'depth_perception' / 'nodes').glob('*.py')):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call):
                yield path, call, getattr(call.func, 'id', getattr(call.func, 'attr', ''))


def test_each_finding_in_the_nodes_has_a_code_of_the_table():
    for path, call, name in calls_in_nodes():
        if name == 'Finding' and path.name != '_diagnostics.py':
            where = f'{path.name}:{call.lineno}'
            assert len(call.args) == 3, f'{where} has no code'
            used = {item.value for item in ast.walk(call.args[2]) if isinstance(item, ast.Constant)
                    and str(item.value).isupper() and not str(item.value).endswith('_')}
            assert used <= set(CODES), f'{where}: add {used - set(CODES)} to _codes.py'


def test_each_counter_of_trouble_has_a_code_of_the_table():
    for path, call, name in calls_in_nodes():
        if name in ('warn', 'reject', 'note') and 'health' in ast.unparse(call.func):
            counter = call.args[0]
            if isinstance(counter, ast.Constant):
                text = f'rejected.{counter.value}' if name == 'reject' else counter.value
                assert code_of(text) in CODES, f'{path.name}:{call.lineno}: {code_of(text)}'
    for reason in [*REASONS.values(), 'no camera_info', 'camera_info frame', 'camera_info size',
                   'camera_info values', 'camera_info distortion']:
        assert code_of(f'rejected.{reason}') in CODES


def test_the_page_on_diagnostics_has_the_table_of_the_code():
    script = runpy.run_path(str(ROOT / 'scripts' / 'write_diagnostics.py'))
    page = (ROOT / 'docs' / 'diagnostics.md').read_text()
    assert script['BEGIN'] + '\n' + script['table']() + script['END'] in page, (
        'run scripts/write_diagnostics.py')
    assert all(code.cause.endswith('.') and code.cure.endswith('.') for code in CODES.values())
