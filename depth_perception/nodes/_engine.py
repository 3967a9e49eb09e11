"""The model of a node: its parameters, its engine, the service that builds it anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
import threading
import time

from rclpy.node import Node
from rclpy.parameter import Parameter
from std_srvs.srv import Trigger

from depth_perception import inference
from depth_perception.inference import EngineSettings
from depth_perception.inference.serving import ServingEngine, Status
from depth_perception.model_spec import DEFAULT_MODEL, ModelError, ModelSpec, find_model, read_spec
from depth_perception.nodes._diagnostics import MEMORY_S, Finding, Level
from depth_perception.nodes._model_loader import ModelLoader
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


def settings_of(config: EngineParameters) -> EngineSettings:
    """Give the parameters to what makes engines."""
    return EngineSettings(
        backend=config.backend, precision=config.precision, threads=config.threads,
        engine_file=config.engine_file_path, force=config.force_engine_update,
        calibration=config.calibration_images)


def check_swap(old: ModelSpec, new: ModelSpec) -> None:
    """
    Check that a model can take the place of another one while the node works.

    Raises
    ------
    ModelError
        If the node would need other inputs or topics.

    """
    for name, meaning in (('frames', 'images a frame'), ('frames_range', 'sizes of a stack'),
                          ('extra_inputs', 'inputs beside the image'),
                          ('confidence', 'confidence (~/confidence)')):
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            raise ModelError(_other_topics(new, meaning, before, after))
    if (old.output_kind == 'relative') != (new.output_kind == 'relative'):
        raise ModelError(_other_topics(new, 'kind of depth', old.output_kind, new.output_kind))


def _other_topics(new: ModelSpec, meaning: str, before: object, after: object) -> str:
    return (f'model {new.name} differs in {meaning}: {after} after {before}, which needs other '
            'topics; first `ros2 lifecycle set NODE deactivate`, then cleanup, set it, and '
            'configure')


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
        self._model = self._wanted = ''     # names of what serves, and of what shall
        self._node, self._is_set_back = node, False
        # the loader's thread may not touch parameters: this calls back in the executor's
        self._failed = node.create_guard_condition(self._keep_the_old_one)
        self._loader = ModelLoader(self._failed.trigger)
        self._told = Status('plain', '')
        self._refused = float('-inf')       # when a model was, on the steady clock [s]
        node.create_service(Trigger, '~/rebuild_engine', self._on_rebuild)

    def open(self, config: EngineParameters, **more: object) -> ServingEngine:
        """
        Make the engine that the parameters, and ``more`` of EngineSettings, ask for.

        Raises
        ------
        ValueError
            ModelError or BackendError of `depth_perception.inference.serve`.

        """
        self.close()
        self._loader.refusal = ''
        self._engine = inference.serve(config.model, replace(settings_of(config), **more))
        self._model = self._wanted = config.model
        return self._engine

    def change(self, config: EngineParameters) -> None:
        """
        Load another model in the background; `take` gives it between two frames.

        Of the name that serves it is another one where its file was replaced since.

        Raises
        ------
        ModelError
            If it is not found or no model, does not fit the node, or another one is being loaded.

        """
        if self._is_set_back or config.model == self._wanted != self._model:
            return
        spec = read_spec(find_model(config.model))
        if config.model == self._wanted and spec == self._engine.spec:
            return
        check_swap(self._engine.spec, spec)
        if config.engine_file_path:
            raise ModelError('engine_file_path is set, which is of the model that serves; '
                             'deactivate, clean up, set both, and configure')
        # force_engine_update is for the start: what is kept of this model is as good as any
        settings = replace(settings_of(config), force=False)
        self._loader.start(config.model, lambda: inference.serve(config.model, settings))
        self._wanted = config.model

    def take(self) -> ServingEngine | None:
        """Return an engine that serves from now on; for the worker's thread, between frames."""
        loaded = self._loader.take()
        if loaded is None:
            return None
        old, self._engine, self._model = self._engine, loaded.engine, loaded.model
        self._node.get_logger().info(f'model {self._engine.spec.name} serves')
        # giving back memory takes its time, and a build that runs has to be stopped
        threading.Thread(target=old.close, name='engine close').start()
        return self._engine

    def _keep_the_old_one(self) -> None:
        """Set the parameter back to what serves: it shall tell the truth."""
        if not self._loader.refusal:    # yet another one was asked for meanwhile
            return
        self._wanted, self._refused = self._model, time.monotonic()
        self._node.get_logger().error(self._loader.refusal)
        self._is_set_back = True
        self._node.set_parameters([Parameter('model', value=self._model)])
        self._is_set_back = False

    def close(self) -> None:
        """Give the engine's memory back; there may be none."""
        self._loader.close()
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def findings(self) -> Iterator[Finding]:
        """Say what is wrong with the engine, or that it is being built."""
        if self._engine is None:
            return
        if self._loader.loading:
            yield Finding(Level.OK, f'model {self._loader.loading} is being loaded; '
                          f'{self._engine.spec.name} serves meanwhile', 'MODEL_LOADING')
        if self._loader.waiting:
            yield Finding(Level.OK, f'model {self._loader.waiting} is loaded and serves from the '
                          f'next frame that is asked for; {self._engine.spec.name} until then',
                          'MODEL_LOADING')
        # as long as any trouble that is over: the parameter is set back
        if self._loader.refusal and time.monotonic() - self._refused < MEMORY_S:
            yield Finding(Level.WARN, f'{self._loader.refusal}; {self._engine.spec.name} serves '
                          'on', 'MODEL_REFUSED')
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
