"""``depth-perception engine build MODEL``: a TensorRT engine, verified where a GPU is."""

from __future__ import annotations

import argparse
from dataclasses import replace
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any

_BAR = 30


def add_to(actions: argparse._SubParsersAction) -> None:
    """Add the action ``build`` to ``depth-perception engine``."""
    build = actions.add_parser(
        'build', help='build a TensorRT engine of a model and keep it',
        description='Builds a TensorRT engine of a model. Where a GPU is, the engine is compared '
                    'with ONNX Runtime before it is kept; a precision that gives wrong depth '
                    'falls back to the next better one. TensorRT for RTX also builds ahead of '
                    'time, for GPUs that are elsewhere.')
    build.add_argument('model', help='name or path of a model')
    build.add_argument('--precision', choices=('fp32', 'fp16', 'mixed', 'int8'), default='fp16')
    build.add_argument('--library', choices=('', 'tensorrt', 'tensorrt_rtx'), default='',
                       help='default: the first that is installed')
    build.add_argument('--output', type=Path, metavar='FILE',
                       help='write the engine here, not into the cache; without a GPU the '
                            'default is MODEL.PRECISION.engine')
    for name, what in (('size', 'that it is made fast for (default: the model\'s own)'),
                       ('smallest', 'smallest network input'),
                       ('largest', 'largest network input')):
        build.add_argument(f'--{name}', type=size, metavar='WIDTHxHEIGHT',
                           help=f'{what}; for models of free size')
    build.add_argument('--keep', default='', metavar='LAYER,…',
                       help='layers, patterns or operators that stay in FP32 (mixed, int8)')
    build.add_argument('--calibration', default='', metavar='FOLDER',
                       help='int8: image folder, video or bag of the camera')
    build.add_argument('--calibration-method', choices=('percentile', 'entropy'),
                       default='percentile')
    build.add_argument('--image', default='', metavar='WIDTHxHEIGHT',
                       help='take camera images of this size as they are: resize and normalise '
                            'on the GPU (for DepthEstimator; see docs/engines.md)')
    build.add_argument('--image-order', choices=('rgb', 'bgr'), default='rgb')
    build.add_argument('--batch', type=int, default=1, help='images (cameras) a call')
    build.add_argument('--dla', type=int, default=-1, metavar='CORE',
                       help='run what it can on this core of the deep learning accelerator')
    build.add_argument('--workspace-mb', type=int, default=1024)
    build.add_argument('--compute-capabilities', default='', metavar='SM86,SM89',
                       help='TensorRT for RTX: GPUs to build for ahead of time')
    build.set_defaults(run=run)


def size(text: str) -> tuple[int, int]:
    """Height and width of ``WIDTHxHEIGHT``."""
    try:
        width, height = (int(part) for part in text.split('x'))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no size; it must be WIDTHxHEIGHT, such as 640x480') from None
    return height, width


def run(model: str, precision: str, library: str, output: Path | None, size, smallest, largest,
        **flags: Any) -> int:
    """Build, verify and keep; the exit status."""
    from depth_perception.inference.builder import BuildOptions, BuildStopped
    from depth_perception.inference.tensorrt_builder import NO_DEVICE, TensorRtBuilder
    from depth_perception.inference.verify import FALL_BACK
    from depth_perception.model_spec import find_model, read_spec

    path = find_model(model)
    spec = read_spec(path)
    if output is not None and output.is_dir():
        raise IsADirectoryError(f'{output} is a folder; give the path of a file')
    typical = size or (spec.input_height, spec.input_width)
    given = {name: str(value) for name, value in flags.items() if value not in ('', -1)}
    options = BuildOptions(precision, smallest or typical, typical, largest or typical, given)
    builder = TensorRtBuilder(library)
    ahead = builder.device == NO_DEVICE
    keep = _build_file if ahead or given.get('image') else _build_into_store
    bar = _Bar(path.stem)
    before = signal.signal(signal.SIGINT, lambda *_: bar.stop())
    try:
        for attempt in (precision,) if ahead else FALL_BACK[precision]:
            problem = keep(builder, path, spec, replace(options, precision=attempt), output, bar)
            if not problem:
                return 0
            print(f'{attempt} is refused: {problem}', file=sys.stderr)
    except BuildStopped:
        print('stopped; nothing is left of the build', file=sys.stderr)
        return 130
    finally:
        signal.signal(signal.SIGINT, before)
    print('no precision gives the right depth: ONNX Runtime has to run this model',
          file=sys.stderr)
    return 1


def _build_into_store(builder, path, spec, options, output, bar) -> str:
    """Build and verify an engine as the node would; return why it is refused, or ''."""
    from depth_perception.inference.engine_cache import EngineCache
    from depth_perception.inference.engine_store import EngineStore

    store = EngineStore(path, spec, builder, options, EngineCache(), str(output or ''))
    found = store.obtain(options.precision, force=True, progress=bar, stopped=bar.is_stopped)
    for warning in found.warnings:
        print(f'warning: {warning}', file=sys.stderr)
    if found.engine is None:
        return found.problem
    found.engine.close()
    slot = store.slot(store.key(options.precision))
    print(f'{slot.engine}: {options.precision}, {found.verdict}')
    return ''


def _build_file(builder, path, spec, options, output, bar) -> str:
    """Build an engine into a file: for another machine, or one that takes camera images."""
    start = time.monotonic()
    blob = builder.build(path, options, bar)
    bar.end(f'built in {time.monotonic() - start:.1f} s')
    verdict = _image_verdict(builder, blob, path, spec, options)
    if verdict is not None and not verdict.accepted:
        return '; '.join(verdict.reasons)
    target = output or Path(f'{path.stem}.{options.precision}.engine')
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f'.{target.name}.{os.getpid()}')
    try:
        draft.write_bytes(blob)
        os.replace(draft, target)
    finally:
        draft.unlink(missing_ok=True)
    print(f'{target}: {len(blob) / 1e6:.1f} MB, {options.precision}, {builder.name} '
          f'{builder.version}, {builder.device}')
    return ''


def _image_verdict(builder, blob, path, spec, options):
    """Compare an engine that takes camera images; None where there is no GPU to run it."""
    from depth_perception.inference.tensorrt_builder import NO_DEVICE
    from depth_perception.inference.tensorrt_network import BuildFlags
    from depth_perception.inference.verify import verify, version_warnings

    if builder.device == NO_DEVICE:
        print('not verified, for there is no GPU here: a node that gets it as engine_file_path '
              'verifies it before use')
        return None
    warnings = version_warnings(builder.name, builder.version, options.precision)
    reference, pictures = _image_reference(
        path, spec, BuildFlags.parse(options.flags).image_input())
    engine = builder.load(blob, spec)
    try:
        return verify(engine, reference, options.precision, pictures=pictures, warnings=warnings)
    finally:
        engine.close()
        reference.close()


def _image_reference(path, spec, image):
    from depth_perception.inference.image_reference import ImageReference, image_pictures
    from depth_perception.inference.verification_pictures import PICTURES
    from depth_perception.sources import open_source

    source = open_source(str(PICTURES))
    photographs = [frame.image for frame in source]
    source.close()
    return ImageReference(path, spec, image), image_pictures(photographs, image)


class _Bar:
    """Progress on one line of a terminal; elsewhere a line for each tenth."""

    def __init__(self, title: str) -> None:
        self._title, self._shown, self._stopped = title, -1, False

    def stop(self) -> None:
        """Let the build end at its next step."""
        self._stopped = True

    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stopped

    def __call__(self, share: float, phase: str) -> bool:
        if self._stopped:
            return False
        step = int(100 * share) if sys.stderr.isatty() else int(10 * share)
        if step == self._shown:
            return True
        self._shown = step
        if sys.stderr.isatty():
            done = '#' * int(_BAR * share)
            print(f'\r{self._title} [{done:{_BAR}}] {100 * share:3.0f} % {phase[:40]:40}',
                  end='', file=sys.stderr, flush=True)
        else:
            print(f'{self._title}: {100 * share:.0f} %', file=sys.stderr, flush=True)
        return True

    def end(self, text: str) -> None:
        """End the line."""
        if sys.stderr.isatty():
            print(file=sys.stderr)
        print(f'{self._title}: {text}', file=sys.stderr)
