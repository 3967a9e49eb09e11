"""One frame of the shipped network on the CPU: precisions, graphs, threads, OpenVINO; in turn.

    PYTHONPATH=. python benchmarks/bench_backends.py [--rounds 5] [--images FOLDER]
    PYTHONPATH=. OV/bin/python benchmarks/bench_backends.py --openvino

Way by way within each round, medians over the rounds, so that noise hits all alike:

- ONNX Runtime as the nodes run it (IO binding), the same through `session.run`, without
  optimisation, and on the graph that was optimised beforehand (``backend: graph``);
- 1, 2 threads, and with threads that spin while they wait;
- INT8 (static QDQ) with its loss of accuracy against FP32 on pictures that did not calibrate:
  of every operator, as precision int8 of ``backend: graph``, and of the convolutions alone, as
  for TensorRT. Needs ``--images`` once, a folder of pictures like
  those that the robot will see;
- with ``--openvino``, in an environment that has ``onnxruntime-openvino`` (never together with
  ``onnxruntime`` in one environment: they overwrite each other), OpenVINO's execution provider in
  FP32, BF16 and on INT8, beside that ONNX Runtime's own CPU provider.

Writes benchmarks/results/backends.json, or backends_openvino.json.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
from pathlib import Path
import statistics
import tempfile
import time

import numpy as np
import onnx
import onnxruntime as ort

from depth_perception.inference.builder import BuildOptions
from depth_perception.inference.graph_builder import GraphBuilder, cpu_name
from depth_perception.inference.int8 import Calibration, calibration_tensors
from depth_perception.inference.int8_cpu import quantise_everywhere
from depth_perception.inference.onnx_engine import OnnxEngine, session_options
from depth_perception.inference.tensorrt_network import BuildFlags, prepare
from depth_perception.inference.verify import verify
from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec

RESULTS = Path(__file__).parent / 'results'
SIZES = ((240, 320), (480, 640))
FRAMES = 8
INT8 = ('int8 convolutions', 'int8')

Way = Callable[[np.ndarray], object]


def session(model: str | bytes, **provider: object) -> Way:
    """Run by `session.run`; `provider` are the options of OpenVINO's."""
    options = session_options(2)
    providers: list = ['CPUExecutionProvider']
    if provider:
        providers.insert(0, ('OpenVINOExecutionProvider', provider))
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    made = ort.InferenceSession(model, options, providers=providers)
    if provider and made.get_providers()[0] != 'OpenVINOExecutionProvider':
        raise RuntimeError(f'OpenVINO does not start: {made.get_providers()}')
    return lambda image: made.run(None, {'image': image})


def spinning(path: str) -> Way:
    """The same with threads that wait by spinning, ONNX Runtime's default."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    made = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda image: made.run(None, {'image': image})


def unoptimised(path: str) -> Way:
    """The graph as it is in the file."""
    options = session_options(2)
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    made = ort.InferenceSession(path, options, providers=['CPUExecutionProvider'])
    return lambda image: made.run(None, {'image': image})


def own_ways(int8: dict[str, bytes]) -> dict[str, Way]:
    """What this package can do without OpenVINO."""
    path = find_model(DEFAULT_MODEL)
    spec = read_spec(path)
    nominal = (spec.input_height, spec.input_width)
    graph = GraphBuilder(threads=2)
    blob = graph.build(path, BuildOptions('fp32', nominal, nominal, nominal), lambda *_: True)
    ways = {
        'fp32': OnnxEngine(path, spec, backend='cpu', threads=2).infer,
        'fp32, session.run': session(str(path)),
        'fp32, unoptimised': unoptimised(str(path)),
        'fp32, graph from the cache': graph.load(blob, spec).infer,
        'fp32, 1 thread': OnnxEngine(path, spec, backend='cpu', threads=1).infer,
        'fp32, spinning, session.run': spinning(str(path)),
    }
    for name, model in int8.items():
        ways[name] = OnnxEngine(model, spec, backend='cpu', threads=2).infer
    return ways


def openvino_ways(int8: dict[str, bytes]) -> dict[str, Way]:
    """OpenVINO's provider beside the CPU provider of the same ONNX Runtime."""
    path = str(find_model(DEFAULT_MODEL))
    ways = {'onnxruntime fp32': session(path)}
    for name, precision in (('fp32', 'f32'), ('bf16', 'bf16')):
        hint = {'CPU': {'INFERENCE_PRECISION_HINT': precision, 'INFERENCE_NUM_THREADS': '2',
                        'PERFORMANCE_HINT': 'LATENCY'}}
        ways[f'openvino {name}'] = session(path, device_type='CPU', load_config=json.dumps(hint))
    for name, model in int8.items():
        ways[f'onnxruntime {name}'] = session(model)
        ways[f'openvino {name}'] = session(model, device_type='CPU', num_of_threads='2')
    return ways


def int8_models(images: str) -> dict[str, bytes]:
    """The QDQ graphs, not yet optimised: ours, and ONNX Runtime's own way of quantising."""
    path = find_model(DEFAULT_MODEL)
    spec = read_spec(path)
    nominal = (spec.input_height, spec.input_width)
    options = BuildOptions('int8', nominal, nominal, nominal, {'calibration': images})
    with tempfile.TemporaryDirectory() as scratch:
        file = prepare(path, options, BuildFlags.parse(options.flags), Path(scratch))
        ours = file.read_bytes()
    everywhere = quantise_everywhere(
        onnx.load(str(path)), calibration_tensors(spec, Calibration(images)))
    return {'int8 convolutions': ours, 'int8': everywhere.SerializeToString()}


def int8_accuracy(models: dict[str, bytes]) -> dict[str, dict]:
    """How far the depth of the INT8 graphs is off on the stored pictures."""
    path = find_model(DEFAULT_MODEL)
    spec = read_spec(path)
    reference = OnnxEngine(path, spec, backend='cpu', threads=2)
    verdicts = {name: verify(OnnxEngine(model, spec, backend='cpu', threads=2), reference, 'int8')
                for name, model in models.items()}
    return {name: {'accepted': v.accepted, 'worst of any picture': v.worst, 'reasons': v.reasons}
            for name, v in verdicts.items()}


def medians_ms(ways: dict[str, Way], size: tuple[int, int], rounds: int) -> dict[str, float]:
    """Median milliseconds a frame; the first round warms up."""
    image = np.random.default_rng(0).standard_normal((1, 3, *size)).astype(np.float32)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds + 1):
        for name, way in ways.items():
            for _ in range(FRAMES if round_ else 2):
                start = time.perf_counter()
                way(image)
                if round_:
                    times[name].append(1e3 * (time.perf_counter() - start))
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    """Measure, print and write the JSON file."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--images', default='')
    parser.add_argument('--openvino', action='store_true')
    arguments = parser.parse_args()
    kept = {name: RESULTS / f'{name.replace(" ", "_")}.onnx' for name in INT8}
    if arguments.images:
        RESULTS.mkdir(exist_ok=True)
        for name, model in int8_models(arguments.images).items():
            kept[name].write_bytes(model)
    int8 = {name: file.read_bytes() for name, file in kept.items() if file.exists()}
    accuracy = int8_accuracy(int8)
    ways = openvino_ways(int8) if arguments.openvino else own_ways(int8)
    results: dict[str, object] = {'cpu': cpu_name(), 'onnxruntime': ort.__version__,
                                  'int8 accuracy': accuracy}
    first = next(iter(ways))
    for size in SIZES:
        ms = medians_ms(ways, size, arguments.rounds)
        results[f'{size[1]}x{size[0]}'] = {
            name: {'ms': value, f'times as fast as {first}': ms[first] / value}
            for name, value in ms.items()}
        for name, value in ms.items():
            print(f'{size[1]}x{size[0]} {name:32s} {value:8.2f} ms {ms[first] / value:6.2f} x '
                  f'{first}')
    for name, found in accuracy.items():
        print(f'{name}: {found}')
    name = 'backends_openvino.json' if arguments.openvino else 'backends.json'
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / name).write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
