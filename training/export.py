"""Export a trained network: ``python -m training.export CONFIG [checkpoint=FILE] [folder=DIR]``.

Writes NAME.onnx with its contract inside, NAME.safetensors (weights as trained, for fine-tuning)
and NAME.yaml (the training config). The ONNX file is compared with torch before it is kept.
"""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
import tempfile
import warnings

import numpy as np
import onnx
from onnx import version_converter
import safetensors.torch
import torch
from torch import nn
from torch.export import Dim
import yaml

from depth_perception.estimator import DepthEstimator
from depth_perception.geometry import Intrinsics
from depth_perception.inference import load
from depth_perception.model_spec import ModelSpec, write_spec
from training.arguments import parse
from training.checkpoint import CheckpointError, load_model
from training.config import Config
from training.contract import MEAN, STD, canonical_focal_px
from training.models.realtime_unet import SIZE_MULTIPLE

log = logging.getLogger(__name__)

OPSET = 17  # the newest that TensorRT 8.5, JetPack 5's, reads
TOLERANCE = 1e-4
SIZES_COMPARED = ((144, 192), (240, 432), (480, 640))


class ExportError(ValueError):
    """An exported file that does not compute what the network computes."""


def export_onnx(network: nn.Module, path: Path) -> None:
    """Write `network` as ONNX: 'image' (1, 3, h, w) to 'depth' (1, 1, h, w).

    Height and width are free multiples of 16; batch norm is folded into the convolutions.

    Raises
    ------
    ExportError
        `network` is in training mode.
    """
    if network.training:
        raise ExportError('the network is in training mode; call its eval() before the export')
    example = torch.zeros(1, 3, 240, 320)  # any size: both sides stay free
    sides = {2: SIZE_MULTIPLE * Dim('h', min=2), 3: SIZE_MULTIPLE * Dim('w', min=2)}
    # They report each pass, and torchvision missing, which no network here uses.
    for name in ('torch.onnx', 'onnx_ir', 'onnxscript'):
        logging.getLogger(name).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', FutureWarning)  # about torch's own use of its tree library
        program = torch.onnx.export(
            network, (example,), input_names=['image'], output_names=['depth'],
            opset_version=18, dynamo=True, dynamic_shapes=(sides,), verbose=False,
        )
    model = version_converter.convert_version(program.model_proto, OPSET)
    for value, side in ((model.graph.input[0], 3), (model.graph.output[0], 1)):
        dims = value.type.tensor_type.shape.dim
        dims[1].dim_value = side
        dims[2].dim_param, dims[3].dim_param = 'height', 'width'
    onnx.checker.check_model(model)
    onnx.save_model(model, path)


def contract(config: Config, training_data: str) -> ModelSpec:
    """Contract of a single-image network; its nominal input is that of the last phase."""
    height, width = config.phases[-1].height, config.phases[-1].width
    return ModelSpec(
        name=config.name,
        architecture=config.model,
        input_height=height,
        input_width=width,
        size_multiple=SIZE_MULTIPLE,
        mean=MEAN,
        std=STD,
        output_kind='log',
        canonical_focal_px=canonical_focal_px(width),
        depth_range=config.trusted_range,
        training_data=training_data,
        licence='Apache-2.0',
    )


def compare(network: nn.Module, path: Path, seed: int = 0) -> float:
    """Largest absolute difference of the ONNX file from `network`, over three image sizes.

    Raises
    ------
    ExportError
        The difference is not below 1e-4.
    """
    generator = torch.Generator().manual_seed(seed)
    engine = load(str(path), backend='cpu')
    worst = 0.0
    for size in SIZES_COMPARED:
        image = torch.randn((1, 3, *size), generator=generator)
        with torch.inference_mode():
            expected = network(image)[0, 0].numpy()
        found, _ = engine.infer(image.numpy())
        worst = max(worst, float(np.abs(found - expected).max()))
    engine.close()
    if not worst < TOLERANCE:
        raise ExportError(f'{path} differs from torch by {worst:.2g}; the limit is {TOLERANCE}')
    return worst


def run_once(path: Path) -> None:
    """Run the exported file as a node would.

    Raises
    ------
    ExportError
        No finite depth came out for a grey picture.
    """
    engine = load(str(path), backend='cpu')
    picture = np.full((480, 640, 3), 127, np.uint8)
    depth = DepthEstimator(engine)(picture, Intrinsics.from_hfov(640, 480, 63)).depth
    if not np.isfinite(depth).all():
        undefined = int(np.isnan(depth).sum())
        raise ExportError(f'{path} gives {undefined} undefined pixels for a grey picture')
    engine.close()


def export(config: Config, checkpoint: Path, folder: Path) -> Path:
    """Export `checkpoint` into `folder` and return the ONNX file.

    Raises
    ------
    ExportError, CheckpointError
    """
    network, trained = load_model(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{config.name}.onnx'
    # Checked beside the target and then renamed: a failed export leaves the old model in place.
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        draft = Path(scratch) / path.name
        export_onnx(network, draft)
        write_spec(draft, contract(config, ', '.join(trained.sources)))
        worst = compare(network, draft)
        run_once(draft)
        os.replace(draft, path)
    safetensors.torch.save_file(network.state_dict(), path.with_suffix('.safetensors'))
    path.with_suffix('.yaml').write_text(yaml.safe_dump(trained.config, sort_keys=False))
    log.info('%s: differs from torch by at most %.1e', path, worst)
    return path


def main(argv: list[str] | None = None) -> None:
    """Export as the command line says."""
    parser = argparse.ArgumentParser(prog='python -m training.export', description=__doc__)
    config, own = parse(parser, argv, ('checkpoint', 'folder'))
    last = Path(config.output) / f'phase{len(config.phases) - 1}.ckpt'
    try:
        export(config, Path(own.get('checkpoint', last)),
               Path(own.get('folder', 'depth_perception/models')))
    except (ExportError, CheckpointError) as error:
        raise SystemExit(f'error: {error}') from error


if __name__ == '__main__':
    main()
