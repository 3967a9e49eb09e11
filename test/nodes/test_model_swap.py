"""Another model while frames come: loaded in the background, swapped between frames."""

from __future__ import annotations

from dataclasses import replace
import threading
import time
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from sensor_msgs.msg import Image

from depth_perception.model_spec import ModelError, read_spec
from depth_perception.nodes._engine import check_swap
from depth_perception.nodes._model_loader import ModelLoader

HEIGHT, WIDTH = 48, 64
PICTURE = np.full((HEIGHT, WIDTH, 3), 200, np.uint8)


def engine(closed):
    return SimpleNamespace(close=lambda: closed.append(True))


def wait_for(condition):
    end = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_what_is_loaded_is_taken_once():
    loader, made = ModelLoader(lambda: None), engine([])
    loader.start('b', lambda: made)
    wait_for(lambda: not loader.loading)
    assert loader.take() == ('b', made) and loader.take() is None


def test_while_one_model_is_loaded_another_is_refused():
    loader, go = ModelLoader(lambda: None), threading.Event()
    loader.start('slow', lambda: go.wait(5) and engine([]))
    with pytest.raises(ModelError, match='model slow is being loaded; set other once it serves'):
        loader.start('other', lambda: engine([]))
    go.set()
    loader.close()


def test_what_nobody_took_is_closed():
    loader, closed = ModelLoader(lambda: None), []
    loader.start('first', lambda: engine(closed))
    wait_for(lambda: not loader.loading)
    loader.start('second', lambda: engine(closed))
    assert closed == [True]
    loader.close()
    assert closed == [True, True] and loader.take() is None


def test_a_failure_is_told_and_the_next_wish_starts_anew():
    told = []
    loader = ModelLoader(lambda: told.append(loader.refusal))

    def fail():
        raise ModelError('no such operator')

    loader.start('bad', fail)
    wait_for(lambda: told)
    assert told == ['model bad is refused: no such operator'] and loader.take() is None
    loader.start('good', lambda: engine([]))
    assert loader.refusal == ''
    loader.close()


@pytest.mark.filterwarnings('ignore::pytest.PytestUnhandledThreadExceptionWarning')
def test_a_bug_while_loading_is_told_as_one_and_does_not_load_for_ever():
    told = []
    loader = ModelLoader(lambda: told.append(loader.refusal))
    loader.start('odd', lambda: {}['nothing'])
    wait_for(lambda: told)
    assert told == ["model odd is refused, loading it ended in a bug: KeyError: 'nothing'"]
    loader.start('good', lambda: engine([]))
    loader.close()


@pytest.mark.parametrize('change, text', [
    ({'confidence': True}, '~/confidence'), ({'output_kind': 'relative'}, 'kind of depth'),
])
def test_a_model_with_other_topics_is_refused_with_the_way_out(make_model, change, text):
    spec = read_spec(make_model())
    check_swap(spec, replace(spec, name='other', canonical_focal_px=500.0, output_kind='log'))
    with pytest.raises(ModelError, match=f'{text}.*cleanup') as error:
        check_swap(spec, replace(spec, name='other', **change))
    assert 'model other' in str(error.value)


def metres(msg):
    return np.frombuffer(bytes(msg.data), '<f4')


def test_models_change_under_load_without_losing_a_frame_and_bad_ones_are_refused(
        graph, camera, make_model, tmp_path):
    two, three = (str(make_model(depth=depth, name=f'm{depth:.0f}')) for depth in (2.0, 3.0))
    node = graph.spawn('depth_node', {'model': two, 'process': 'every'}, name='swapper')
    depth = graph.listen(f'{node.full_name}/depth/image_rect', Image)
    camera.send_until([depth], PICTURE)
    time.sleep(0.2)
    depth.clear()
    stamps, answers = [], []
    asked = threading.Thread(target=lambda: answers.append(
        graph.set_parameter(node, 'model', three)))
    for number in range(60):
        if number == 10:
            asked.start()
        stamps.append(camera.send(PICTURE))
        time.sleep(1 / 60)
    asked.join()
    messages = depth.wait(len(stamps))
    assert answers[0].successful
    got = [msg.header.stamp.sec + msg.header.stamp.nanosec * 1e-9 for msg in messages]
    np.testing.assert_allclose(got, stamps, atol=1e-6)
    values = [set(metres(msg)) for msg in messages]
    assert values[0] == {np.float32(2.0)} and values[-1] == {np.float32(3.0)}
    assert all(len(each) == 1 for each in values)       # no frame is half of each
    assert values.index({np.float32(3.0)}) == values.count({np.float32(2.0)})   # once, for good

    relative = str(make_model('relative'))
    for bad, text in ((str(tmp_path / 'missing.onnx'), 'missing.onnx'),
                      (str(make_model(contract=False)), 'contract'),
                      (relative, 'kind of depth')):
        answer = graph.set_parameter(node, 'model', bad)
        assert not answer.successful and text in answer.reason
        assert graph.get_parameter(node, 'model') == three
    graph.wait_for_diagnostics(     # a status between two of the refusals tells of another
        node, lambda level, text, values: 'kind of depth' in values.get('PARAMETER_REFUSED', ''))

    # what only ONNX Runtime finds is refused later, and the parameter tells what serves
    graph.set_parameter(node, 'model', unknown_operator(make_model, tmp_path))
    level, _, values = graph.wait_for_diagnostics(
        node, lambda level, text, values: 'MODEL_REFUSED' in values)
    assert level >= 1 and 'Nonsense' in values['MODEL_REFUSED']   # 2: no camera sends meanwhile
    assert graph.get_parameter(node, 'model') == three
    [msg] = camera.send_until([depth], PICTURE)
    assert set(metres(msg)) == {np.float32(3.0)}
    assert graph.set_parameter(node, 'model', two).successful
    graph.wait_for(lambda: set(metres(camera.send_until([depth], PICTURE)[0]))
                   == {np.float32(2.0)}, what='the good model')
    graph.wait_for_diagnostics(node, lambda level, text, values: 'MODEL_REFUSED' not in values)
    assert node.stop() == 0


def unknown_operator(make_model, folder):
    model = onnx.load(str(make_model()))
    model.graph.node[0].op_type = 'Nonsense'
    path = folder / 'nonsense.onnx'
    onnx.save(model, str(path))
    return str(path)
