"""Live nodes are recorded, and training reads what was recorded."""

import os
from pathlib import Path
import signal
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip('mcap')
pytest.importorskip('rosbags')
Image = pytest.importorskip('sensor_msgs.msg').Image

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 160, 120


@pytest.fixture(scope='module')
def camera_and_depth(graph, make_model):
    """A simulated camera with exact depth, and the node that estimates it."""
    graph.spawn('camera_node', {'width': WIDTH, 'height': HEIGHT, 'rate_hz': 15.0, 'seed': 4,
                                'frame_id': 'eye'})
    graph.spawn('depth_node', {'model': str(make_model())})
    # A camera that still renders its first picture would lack it in the recording.
    graph.listen('image', Image).wait(timeout=60.0)


def record(output, *arguments):
    command = [sys.executable, '-m', 'depth_perception.tools.cli', 'record', '-o', str(output)]
    return subprocess.Popen([*command, *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, 'PYTHONUNBUFFERED': '1'})


def test_what_live_nodes_publish_is_recorded_and_prepared_for_training(
        graph, camera_and_depth, tmp_path):
    # Of these seconds a busy machine may take several to find the publishers.
    with record(tmp_path / 'drive', '--seconds', '10', '--split-size', '600K') as process:
        said, _ = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert 'read back and whole' in said and '/depth_node/' not in said
    assert len(list((tmp_path / 'drive').glob('drive_*.mcap'))) > 1

    from depth_perception.tools.recorder import read_back
    topics = {topic.name: topic for topic in read_back(tmp_path / 'drive')}
    assert set(topics) == {'/image', '/camera_info', '/ground_truth/depth'}
    assert topics['/image'].count >= 30 and topics['/image'].reliability == 'reliable'

    pytest.importorskip('torch')
    from training.data.bag import open_set
    from training.data.bag_plan import Settings
    from training.data.prepare import prepare
    summary = prepare([tmp_path / 'drive'], tmp_path / 'set', Settings(split='train', still=0.0))
    row, = summary.rows
    assert row.kind == 'depth' and row.tally.kept['train'] >= 25, row
    pictures = open_set(tmp_path / 'set').pictures('train')
    first, last = pictures.load(0), pictures.load(len(pictures.names) - 1)
    assert first.image.shape == (HEIGHT, WIDTH, 3) and (first.image != last.image).any()
    assert 0.1 < np.nanmedian(first.depth) < 20.0
    assert np.isfinite(first.depth).mean() > 0.9


def test_what_has_arrived_by_the_end_is_written(domain_ids, tmp_path):
    import rclpy
    from std_msgs.msg import String

    from depth_perception.tools.recorder import LiveRecorder
    from depth_perception.tools.split_bag import Limits, SplitBag

    rclpy.init(domain_id=domain_ids())
    node, bag = rclpy.create_node('recorder'), SplitBag(tmp_path / 'drive', Limits())
    publisher = node.create_publisher(String, '/said', 50)
    recorder = LiveRecorder(node, bag, ['/said'], lambda name, kind: False)

    def is_over():
        if not publisher.get_subscription_count():
            return False
        for number in range(20):
            publisher.publish(String(data=str(number)))
        publisher.wait_for_all_acked()
        return True

    try:
        recorder.spin(is_over)
    finally:
        bag.close()
        node.destroy_node()
        rclpy.shutdown()
    assert bag.counts == {'/said': 20}


def test_empty_bytes_are_not_recorded(graph, tmp_path):
    from std_msgs.msg import String

    from depth_perception.tools.recorder import BagRecorder, read_back

    publisher = graph.probe.create_publisher(String, '/said_whole', 5)
    graph.wait_for(lambda: graph.probe.get_publishers_info_by_topic('/said_whole'))
    recorder = BagRecorder(graph.probe, tmp_path / 'drive', ['/said_whole'], limit=1)
    subscription, = recorder._subscriptions.values()
    subscription.callback(b'')      # what Fast DDS may give; see observer.is_message
    graph.wait_for(publisher.get_subscription_count)
    publisher.publish(String(data='whole'))
    graph.wait_for(recorder.done)
    recorder.close()
    graph.probe.destroy_publisher(publisher)
    topic, = read_back(tmp_path / 'drive')
    assert topic.count == 1


@pytest.mark.parametrize('number', [
    signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_recording_that_is_interrupted_is_finished_first(
        graph, camera_and_depth, tmp_path, number):
    with record(tmp_path / 'drive', '/image', '/nobody') as process:
        while ' 0 messages' in (line := process.stdout.readline()) or 'messages' not in line:
            assert process.poll() is None
        process.send_signal(number)
        said, _ = process.communicate(timeout=30)
    assert process.returncode == 1 and 'nobody published /nobody' in said  # the rest is there
    assert 'read back and whole' in said, said
