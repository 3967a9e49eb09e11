"""The model of a node: its parameters, its engine, the service that builds it anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rclpy.node import Node
from std_srvs.srv import Trigger

from depth_perception import inference
from depth_perception.inference import EngineSettings
from depth_perception.inference.serving import ServingEngine, Status
from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.nodes._diagnostics import Finding, Level
from depth_perception.nodes._parameters import parameter


@dataclass(frozen=True)
class EngineParameters:
    """Which model, and what runs it."""

    model: str = parameter(
        DEFAULT_MODEL, 'name or path of an exported model', at_configure=True)
    backend: str = parameter(
        'auto', 'what runs the model; auto: TensorRT where it and a GPU are, else CUDA, else the '
        'CPU; tensorrt, tensorrt_ep (by ONNX Runtime), graph (optimised for this CPU) and '
        'openvino are built in the background, verified and kept', at_configure=True,
        choices=(*inference.BACKENDS, *inference.BUILT))
    precision: str = parameter(
        'auto', 'of an engine that is built; auto: fp16 on a GPU, else fp32; one that is not '
        'accurate enough gives way to the next: fp16, mixed, fp32', at_configure=True,
        choices=inference.PRECISIONS)
    calibration_images: str = parameter(
        '', 'for precision int8: folder, video or bag of images of this camera',
        at_configure=True)
    engine_file_path: str = parameter(
        '', 'where the engine lies, or shall be written; empty: in the cache folder of the user',
        at_configure=True)
    force_engine_update: bool = parameter(
        False, 'build the engine anew at start, whatever is kept', at_configure=True)
    threads: int = parameter(
        0, 'CPU threads of the model; 0: one for each core', limits=(0, 256), at_configure=True)


class EngineHost:
    """
    Holds a node's engine and offers ``~/rebuild_engine``.

    Parameters
    ----------
    node : Node
        Has the service.

    """

    def __init__(self, node: Node) -> None:
        self._engine: ServingEngine | None = None
        self._node = node
        self._told = Status('plain', '')
        node.create_service(Trigger, '~/rebuild_engine', self._on_rebuild)

    def open(self, config: EngineParameters) -> ServingEngine:
        """
        Make the engine that the parameters ask for.

        Raises
        ------
        ValueError
            ModelError or BackendError of `depth_perception.inference.serve`.

        """
        self.close()
        self._engine = inference.serve(config.model, EngineSettings(
            backend=config.backend, precision=config.precision, threads=config.threads,
            engine_file=config.engine_file_path, force=config.force_engine_update,
            calibration=config.calibration_images))
        return self._engine

    def close(self) -> None:
        """Give the engine's memory back; there may be none."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the engine, or that it is being built."""
        if self._engine is None:
            return
        status = self._engine.status
        self._log(status)
        if status.state in ('refused', 'failed'):
            yield Finding(Level.WARN, status.text, 'GPU_LOST' if status.gpu_lost
                          else f'ENGINE_{status.state.upper()}')
        yield from (Finding(Level.WARN, text, 'ENGINE_WARNING') for text in status.warnings)
        if status.state == 'building':
            yield Finding(Level.OK, status.text, 'ENGINE_BUILDING')

    def values(self) -> dict[str, object]:
        """Give the model, what runs it, and the verdict on its engine."""
        if self._engine is None:
            return {}
        status = self._engine.status
        return {'model': self._engine.spec.name, 'backend': self._engine.backend,
                'engine state': status.state, 'engine': status.text,
                'engine verdict': 'none' if status.verdict is None else status.verdict}

    def _log(self, status: Status) -> None:
        """Log what changed since the last time."""
        logger = self._node.get_logger()
        # one call for each severity: rclpy refuses another from the same line
        if status.state != self._told.state and status.state in ('refused', 'failed'):
            logger.warning(status.text)
        elif status.state != self._told.state:
            logger.info(status.text)
        for text in status.warnings:
            if text not in self._told.warnings:
                logger.warning(text)
        self._told = status

    def _on_rebuild(self, request: Trigger.Request, response: Trigger.Response
                    ) -> Trigger.Response:
        try:
            if self._engine is None:
                raise inference.BackendError('there is no engine yet; configure the node first')
            self._engine.rebuild()
        except ValueError as error:
            response.success, response.message = False, str(error)
        else:
            response.success, response.message = True, self._engine.status.text
        return response
