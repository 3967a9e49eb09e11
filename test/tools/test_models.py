from __future__ import annotations

from dataclasses import replace

from depth_perception.model_spec import read_spec, write_spec
from depth_perception.tools.cli import main


def test_info_shows_the_provenance_of_a_fine_tuned_model(make_model, capsys):
    path = make_model()
    told = {'commit': 'abc',
            'data': {'name': 'kitchen', 'bags': [{'name': 'drive_1', 'sha': 'f0'}]},
            'metrics': {'held_out': {'after': {'abs_rel': 0.125}}}}
    write_spec(path, replace(read_spec(path), provenance=told))
    assert read_spec(path).provenance == told
    assert main(['models', 'info', str(path)]) == 0
    shown = capsys.readouterr().out
    assert '\n    commit: abc\n    data:\n      ' in shown
    assert 'name: drive_1' in shown
    assert 'after: {abs_rel: 0.125}' in shown
