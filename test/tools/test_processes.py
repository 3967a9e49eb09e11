"""Processes that the demos start: none is left behind when somebody ends a demo."""

from __future__ import annotations

import os
import signal
import time

import pytest
import rclpy

from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.tools import demo, demo_focus
from depth_perception.tools.processes import NodeProcess


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def demo_of_a_picture(model, folder):
    return demo.run('scene', 60.0, 1.0, folder)


def demo_of_a_sweep(model, folder):
    return demo_focus.run(str(model), DEFAULT_MODEL, 1.0, folder)


@pytest.mark.parametrize('module, step, run', [
    (demo, 'run_source', demo_of_a_picture), (demo_focus, '_stream', demo_of_a_sweep)])
def test_sigterm_ends_a_demo_with_its_nodes(
        isolated_graph, make_model, tmp_path, monkeypatch, module, step, run):
    nodes, before = [], signal.getsignal(signal.SIGTERM)

    def stream(*_):
        with NodeProcess('camera_node', 'ended', {'source': 'scene'}) as node:
            nodes.append(node.pid)
            assert is_alive(node.pid)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60.0)

    monkeypatch.setattr(module, step, stream)
    with pytest.raises(KeyboardInterrupt):
        run(make_model(frames=5), tmp_path)
    assert len(nodes) == 1 and not is_alive(nodes[0])
    assert not rclpy.ok()
    assert signal.getsignal(signal.SIGTERM) == before
