"""Depth by a model for pictures without it, and the folder that comes out, trained on again."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from scipy.io import savemat
import torch
import yaml

from depth_perception.inference import load
from training.data import DATASETS, DataConfig
from training.hugging_face import HuggingFaceEngine, HuggingFaceError
from training.pseudo_label import HIGHEST, LOWEST, main, millimetres, stretched

HEIGHT, WIDTH = 48, 64
RNG = np.random.default_rng(0)


@pytest.fixture
def movie(tmp_path):
    root = tmp_path / 'inria'
    frames, labels = root / 'segmentation/test/frames/3', root / 'segmentation/test/labels/3'
    frames.mkdir(parents=True)
    labels.mkdir(parents=True)
    ramp = np.tile(np.linspace(0, 255, WIDTH).astype(np.uint8)[None, :, None], (HEIGHT, 1, 3))
    for number in range(10):
        _, data = cv2.imencode('.jpg', ramp, [cv2.IMWRITE_JPEG_QUALITY, 100])
        (frames / f'{number:08d}.jpg').write_bytes(data.tobytes())
    people = np.zeros((HEIGHT, WIDTH, 1), np.uint8)
    people[10:30, 20:40] = 1
    for number in (4, 9):
        savemat(labels / f'{number:08d}.jpg.mat', {'det_gt': people})
    return root


def run(root, output, *settings, layout='inria'):
    main([layout, str(root), f'output={output}', *settings])
    return json.loads((output / 'provenance.json').read_text())


def test_relative_labels_become_a_folder_to_train_on(movie, tmp_path, make_model):
    output = tmp_path / 'out'
    model = make_model('relative')
    provenance = run(movie, output, f'model={model}')
    assert provenance['complete'] and provenance['pictures'] == 10
    assert (provenance['masks'], provenance['left_out']) == (2, [])
    assert provenance['model']['output_kind'] == 'relative'
    assert provenance['model']['weights_sha256'] == load(str(model)).spec.weights_sha256
    assert provenance['source']['layout'] == 'inria' and 'not measured' in provenance['depth']
    stored = cv2.imread(str(output / 'depth/segmentation/test/3/00000004.png'), -1)
    assert (stored.dtype, stored.shape) == (np.uint16, (HEIGHT, WIDTH))
    data = DATASETS['folder'](DataConfig(HEIGHT, WIDTH, 4, root=str(output), labels=True), 'val')
    item = data[0]  # the last tenth by name
    assert item['name'].endswith('00000009')
    assert (item['labels'] == 1).sum() == 20 * 20 and (item['labels'] == 0).any()
    expected = 1 / (stored / HIGHEST)
    np.testing.assert_allclose(item['depth'].numpy(), expected, rtol=1e-4)


def test_metric_labels_are_millimetres(movie, tmp_path, make_model):
    output = tmp_path / 'out'
    run(movie, output, f"model={make_model('metric', depth=2.0)}")
    stored = cv2.imread(str(output / 'depth/segmentation/test/3/00000000.png'), -1)
    assert (stored == 2000).all()
    description = yaml.safe_load((output / 'dataset.yaml').read_text())
    assert description['scale'] == 0.001 and 'inverse' not in description
    data = DATASETS['folder'](DataConfig(HEIGHT, WIDTH, 4, root=str(output)), 'train')
    assert 'labels' not in data[0]
    assert float(data[0]['depth'].nanmedian()) == pytest.approx(2.0, rel=1e-3)


def test_a_broken_off_run_goes_on_with_what_is_missing(movie, tmp_path, make_model):
    output, model = tmp_path / 'out', make_model('relative')
    run(movie, output, f'model={model}')
    kept = output / 'depth/segmentation/test/3/00000000.png'
    stamp = kept.stat().st_mtime_ns
    (output / 'depth/segmentation/test/3/00000001.png').unlink()
    assert run(movie, output, f'model={model}')['masks'] == 2
    assert kept.stat().st_mtime_ns == stamp
    assert (output / 'depth/segmentation/test/3/00000001.png').exists()


def test_labels_of_two_models_are_not_mixed(movie, tmp_path, make_model):
    output = tmp_path / 'out'
    run(movie, output, f"model={make_model('relative')}")
    with pytest.raises(SystemExit, match='holds labels of another model'):
        run(movie, output, f"model={make_model('metric', depth=1.0)}")
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full/x').write_text('mine')
    with pytest.raises(SystemExit, match='is not empty and was not written by this command'):
        run(movie, tmp_path / 'full', f"model={make_model('relative')}")


def test_a_damaged_picture_is_named_and_left_out(movie, tmp_path, make_model, caplog):
    path = movie / 'segmentation/test/frames/3/00000002.jpg'
    path.write_bytes(path.read_bytes()[:100])
    provenance = run(movie, tmp_path / 'out', f"model={make_model('relative')}")
    assert provenance['left_out'] == ['segmentation/test/3/00000002']
    assert '00000002.jpg is cut off' in caplog.text


@pytest.fixture
def dpt(tmp_path):
    transformers = pytest.importorskip('transformers')
    config = transformers.DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=16,
        image_size=32, patch_size=8, backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8)
    torch.manual_seed(0)
    transformers.DPTForDepthEstimation(config).save_pretrained(tmp_path / 'dpt')
    return tmp_path / 'dpt'


def test_a_dpt_of_transformers_labels_posetrack(dpt, tmp_path):
    root = tmp_path / 'posetrack'
    folder = root / 'images/val/000342_mpii_test'
    folder.mkdir(parents=True)
    for number in range(2):
        picture = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
        cv2.imwrite(str(folder / f'{number:06d}.jpg'), picture)
    provenance = run(root, tmp_path / 'out', f'dpt={dpt}', layout='posetrack')
    assert provenance['model']['architecture'] == 'dpt' and provenance['masks'] == 0
    assert provenance['source']['licence'] == 'CC BY-NC 4.0'
    stored = cv2.imread(str(tmp_path / 'out/depth/val/000342_mpii_test/000001.png'), -1)
    assert stored.min() == LOWEST and stored.max() == HIGHEST


def test_the_engine_gives_what_the_network_gives(dpt):
    engine = HuggingFaceEngine(str(dpt))
    image = RNG.standard_normal((1, 3, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        expected = engine._network(torch.from_numpy(image)).predicted_depth
    found, confidence = engine.infer(image)
    assert found.shape == (32, 32) and confidence is None
    expected = torch.nn.functional.interpolate(expected[None], (32, 32), mode='bicubic')
    np.testing.assert_allclose(found, expected[0, 0].numpy(), atol=1e-5)


def test_a_network_that_is_not_at_hand_is_not_downloaded(tmp_path):
    pytest.importorskip('transformers')
    with pytest.raises(HuggingFaceError, match='neither a folder with a saved network nor'):
        HuggingFaceEngine(str(tmp_path / 'none'))


def test_stretching_keeps_the_order_and_marks_what_is_missing():
    found = stretched(np.array([[0.5, np.nan, -1.0], [2.0, np.inf, 0.5]], np.float32))
    assert found.tolist()[0][1] == found.tolist()[1][1] == 0
    assert (found[0, 2], found[1, 0]) == (LOWEST, HIGHEST)
    assert found[0, 0] == round(LOWEST + (HIGHEST - LOWEST) * 0.5)
    assert (stretched(np.full((2, 2), 3.0, np.float32)) == LOWEST).all()
    assert (stretched(np.full((2, 2), np.nan, np.float32)) == 0).all()


def test_metres_that_do_not_fit_are_missing():
    assert millimetres(np.array([1.2345, 70.0, np.nan, np.inf])).tolist() == [1234, 0, 0, 0]


@pytest.mark.parametrize(('settings', 'message'), [
    ([], 'output is missing; name the folder'),
    (['output=x', 'modell=y'], 'unknown key modell; the nearest known is model'),
    (['output=x', 'model=a', 'dpt=b'], 'model and dpt are both given'),
    (['output=x', 'hfov_deg=200'], 'hfov_deg is 200.0; it must be above 0 and below 180'),
    (['output=x', 'model=nowhere'], "no model is called 'nowhere'"),
])
def test_a_wrong_setting_ends_the_command_with_a_sentence(tmp_path, settings, message):
    with pytest.raises(SystemExit, match=message):
        main(['inria', str(tmp_path), *settings])
