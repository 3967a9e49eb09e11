"""From a model file to the ONNX file that TensorRT parses: precision, camera image, batch."""

from __future__ import annotations

from dataclasses import dataclass, fields
import difflib
import os
from pathlib import Path

import onnx

from depth_perception.inference import BackendError
from depth_perception.inference.engine_cache import BuildOptions
from depth_perception.inference.image_input import ImageInput, fold_image_input, set_batch
from depth_perception.inference.precision import layers_named, mixed_layers, named, to_fp16
from depth_perception.model_spec import read_spec

_LARGEST_PROTO = 1 << 31    # protobuf's limit; larger networks keep their weights beside them


@dataclass(frozen=True)
class BuildFlags:
    """What the flags of BuildOptions mean here.

    Attributes
    ----------
    keep : tuple of str
        ``mixed`` and ``int8``: layers, patterns or operators that stay in FP32.
    calibration : str
        ``int8``: folder, video or bag of camera images.
    calibration_method : str
        ``percentile`` or ``entropy``.
    image : str
        Size of the camera image, such as ``640x480``: the engine then takes it as it is, uint8,
        and resizes and normalises it itself. '': the network's own input.
    image_order : str
        ``rgb`` or ``bgr``, of that image.
    batch : int
        Images, or cameras, a call.
    dla : int
        Core of the deep learning accelerator; -1: none.
    workspace_mb : int
    compute_capabilities : tuple of str
        TensorRT for RTX: GPUs to build for ahead of time, such as ``SM89``.
    """

    keep: tuple[str, ...] = ()
    calibration: str = ''
    calibration_method: str = 'percentile'
    image: str = ''
    image_order: str = 'rgb'
    batch: int = 1
    dla: int = -1
    workspace_mb: int = 1024
    compute_capabilities: tuple[str, ...] = ()

    @classmethod
    def parse(cls, flags: dict[str, str]) -> BuildFlags:
        """Read flags from texts.

        Raises
        ------
        BackendError
            If one is unknown or has no sense.
        """
        known = {field.name: field.default for field in fields(cls)}
        values = {}
        for name, text in flags.items():
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1) or [', '.join(known)]
                raise BackendError(f'unknown build flag {name!r}; did you mean {near[0]}?')
            values[name] = _parsed(name, text, known[name])
        return cls(**values)

    def image_input(self) -> ImageInput | None:
        """The camera image that the engine takes; None: the network's own input."""
        if not self.image:
            return None
        try:
            width, height = (int(part) for part in self.image.split('x'))
            return ImageInput(height, width, self.image_order)
        except ValueError as error:
            raise BackendError(f'image is {self.image!r} ({error}); it must be WIDTHxHEIGHT, '
                               'such as 640x480') from None


def _parsed(name: str, text: str, default: object) -> object:
    if isinstance(default, tuple):
        return tuple(part.strip() for part in text.split(',') if part.strip())
    if not isinstance(default, int):
        return text
    try:
        return int(text)
    except ValueError:
        raise BackendError(f'build flag {name} is {text!r}; it must be a whole number') from None


def prepare(model_path: Path, options: BuildOptions, flags: BuildFlags, scratch: Path) -> Path:
    """Write the ONNX file to build from into `scratch`; the model's own where nothing changes.

    Raises
    ------
    BackendError
        If INT8 is asked for without calibration images, or they cannot be read.
    ModelError
        If the model is damaged, or a layer to keep does not exist.
    """
    spec = read_spec(model_path)
    image = flags.image_input()
    if options.precision == 'fp32' and image is None and flags.batch == 1:
        return model_path
    # read_spec has refused weights outside of the model's folder.
    model = named(onnx.load(str(model_path)))
    if options.precision == 'int8':
        from depth_perception.inference.int8 import Calibration, to_int8

        model = to_int8(model, spec, Calibration(flags.calibration, flags.calibration_method),
                        keep=layers_named(model, flags.keep))
    elif options.precision in ('fp16', 'mixed'):
        keep = layers_named(model, flags.keep)
        if options.precision == 'mixed' and not keep:
            keep = mixed_layers(model)
        model = to_fp16(model, keep)
    if flags.batch != 1:
        model = set_batch(model, flags.batch)
    if image is not None:
        model = fold_image_input(model, spec, image)
    return _saved(model, scratch / model_path.name)


def _saved(model: onnx.ModelProto, path: Path) -> Path:
    large = model.ByteSize() > _LARGEST_PROTO - (1 << 20)
    onnx.save_model(model, os.fspath(path), save_as_external_data=large)
    return path
