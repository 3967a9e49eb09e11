"""SPT-Depth, exported and run by the depth node: relative depth on a topic that says so."""

from __future__ import annotations

import numpy as np
import pytest
from sensor_msgs.msg import Image, PointCloud2

from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.inference import load
from depth_perception.model_spec import write_spec

torch = pytest.importorskip('torch')
from training.config import Config, Phase  # noqa: E402
from training.contract import model_spec  # noqa: E402
from training.export import export_onnx, fix_size  # noqa: E402
from training.models import build_model  # noqa: E402

HEIGHT, WIDTH = 120, 150  # no multiples of 32
PICTURE = np.random.default_rng(2).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture(scope='module', params=['any size', 'one size'])
def exported(request, tmp_path_factory):
    """File of spt_tiny, random weights with a head that is not constant."""
    torch.manual_seed(0)
    network = build_model('spt_tiny').eval()
    torch.nn.init.normal_(network.depth_head[-1].weight)
    if request.param == 'one size':
        fix_size(network, (96, 128))
    path = tmp_path_factory.mktemp('spt') / 'spt_tiny.onnx'
    export_onnx(network, path)
    config = Config('spt_tiny', 'spt_tiny', (Phase(96, 128, 1, 1, 1e-4),), '')
    write_spec(path, model_spec(config, network, 'none'))
    return path


def test_relative_depth_goes_out_under_its_own_name_and_metres_stay_silent(
        graph, camera, exported):
    node = graph.spawn('depth_node', {'model': str(exported)},
                       name=f'spt_{exported.parent.name[-1]}')
    relative = graph.listen(f'{node.full_name}/relative_depth/image', Image)
    silent = [graph.listen(f'{node.full_name}/{topic}', kind)
              for topic, kind in (('depth/image_rect', Image), ('points', PointCloud2))]
    [msg] = camera.send_until([relative], PICTURE, timeout=20.0)
    assert (msg.encoding, msg.height, msg.width) == ('32FC1', HEIGHT, WIDTH)
    found = np.frombuffer(bytes(msg.data), '<f4').reshape(HEIGHT, WIDTH)
    assert 0 < found.min() < found.max() < 1
    estimator = DepthEstimator(load(str(exported), backend='cpu'))
    expected = estimator(PICTURE, Intrinsics.from_hfov(WIDTH, HEIGHT, 60)).depth
    np.testing.assert_allclose(found, expected, atol=1e-5)
    _, text, _ = graph.wait_for_diagnostics(
        node, lambda level, text, values: 'without metres' in text)
    assert 'a metric model' in text
    assert not any(inbox.messages for inbox in silent)
    assert node.stop() == 0
