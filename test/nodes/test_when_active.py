"""tools/when_active: a command that waits for a node, as bag.launch.py plays a bag."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

WAIT = [sys.executable, '-m', 'depth_perception.tools.when_active']


def test_a_command_runs_once_the_node_is_active_and_not_before(graph, tmp_path):
    node = graph.spawn('point_cloud_node', {'autostart': False}, state='unconfigured')
    mark = tmp_path / 'mark'
    with subprocess.Popen([*WAIT, node.full_name, 'touch', str(mark)]) as waiting:
        graph.change_state(node, 'configure')
        time.sleep(1.0)     # it may have asked several times by now
        assert waiting.poll() is None
        assert not mark.exists()
        graph.change_state(node, 'activate')
        assert waiting.wait(10) == 0
    assert mark.exists()
    missing = subprocess.run([*WAIT, node.full_name, 'no-such-program'], capture_output=True,
                             text=True, timeout=20)
    assert missing.returncode == 1
    assert missing.stderr.startswith('cannot run no-such-program: No such file')


def test_an_interrupt_ends_the_wait(graph):
    command = [*WAIT, '/nobody', 'touch', '/never']
    with subprocess.Popen(command, stderr=subprocess.PIPE) as waiting:
        graph.wait_for(lambda: 'when_active' in graph.probe.get_node_names())
        waiting.send_signal(signal.SIGINT)
        assert waiting.wait(10) == 0
        assert b'Traceback' not in waiting.stderr.read()
