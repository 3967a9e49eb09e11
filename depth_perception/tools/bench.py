"""``depth-perception bench MODEL``: what a frame costs, stage by stage, and how near the limit.

Like trtexec, but for the whole path: image, preprocessing, network, postprocessing. Next to it
stands the machine's own limit, a large matrix product measured in the same run.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
import json
import os
from pathlib import Path
import platform
import re
import resource
import sys
import time
from typing import Any

from depth_perception.tools.engine_build import size

STAGES = ('preprocess', 'inference', 'postprocess', 'frame')
_PEAK_SIDE = 2048
_PEAK_REPEATS = 5
_ROUND_S = 0.5      # backends that are compared take turns of this length
BACKENDS = ('auto', 'cpu', 'cuda', 'graph', 'tensorrt_ep', 'tensorrt')


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add ``bench`` to the command."""
    bench = commands.add_parser(
        'bench', help='milliseconds, memory and share of the machine\'s limit of a model')
    bench.add_argument('model', help='name or path')
    bench.add_argument('--backend', choices=BACKENDS, default='cpu')
    bench.add_argument('--compare', choices=BACKENDS, metavar='BACKEND',
                       help='a second backend, in turn with the first')
    bench.add_argument('--precision', default='auto',
                       help='of engines: auto, fp32, fp16, mixed, int8')
    bench.add_argument('--image', type=size, default=(480, 640), metavar='WIDTHxHEIGHT',
                       help='camera image (default: 640x480)')
    bench.add_argument('--seconds', type=float, default=5.0, help='for each backend')
    bench.add_argument('--threads', type=int, default=0, help='CPU threads; 0: one for each core')
    bench.add_argument('--json', type=Path, metavar='FILE', help='write all figures here')
    bench.set_defaults(run=run)


def run(model: str, backend: str, compare: str | None, precision: str, image: tuple[int, int],
        seconds: float, threads: int, json: Path | None) -> int:
    """Measure, print and write the figures."""
    if not seconds > 0:
        raise ValueError(f'seconds is {seconds}; it must be above 0')
    result = measure(model, [backend, *([compare] if compare else [])], precision, image, seconds,
                     threads)
    show(result)
    if json is not None:
        json.parent.mkdir(parents=True, exist_ok=True)
        json.write_text(_as_text(result), encoding='utf-8')
    return 0


def measure(model: str, backends: list[str], precision: str, image: tuple[int, int],
            seconds: float, threads: int) -> dict[str, Any]:
    """Measure the backends in turn; the result is what the JSON file holds."""
    from depth_perception.model_spec import find_model, load_graph, read_spec
    from depth_perception.preprocessing import place
    from depth_perception.tools.flops import count_flops

    path = find_model(model)
    spec = read_spec(path)
    placement = place(*image, spec)
    network = (placement.input_height, placement.input_width)
    flops = count_flops(load_graph(path), spec, network)
    runs = []
    for name in backends:
        before = resident_mb()
        engine = open_engine(model, name, precision, threads)
        runs.append(Run(name, engine, image, resident_mb() - before))
    peaks = [gemm_gflops(run_.engine.backend, threads) for run_ in runs]
    try:
        take_turns(runs, seconds)
        rows = [run_.figures(flops, peak) for run_, peak in zip(runs, peaks)]
    finally:
        for run_ in runs:
            run_.engine.close()
    return {'model': spec.name, 'file': path.name, 'weights_sha256': spec.weights_sha256,
            'image': f'{image[1]}x{image[0]}', 'network_input': f'{network[1]}x{network[0]}',
            'gflop': flops / 1e9, 'threads': threads or os.cpu_count(),
            'machine': machine(), 'versions': versions(), 'backends': rows}


def open_engine(model: str, backend: str, precision: str, threads: int):
    """Open the engine of a backend; where it is built first, wait for it.

    Raises
    ------
    BackendError
        If the engine is refused or cannot be built: the figures would be those of another.
    """
    from depth_perception.inference import BUILT, BackendError, EngineSettings, load, make_store

    if backend not in BUILT:
        return load(model, backend=backend, threads=threads)
    store = make_store(model, EngineSettings(backend=backend, precision=precision,
                                             threads=threads))
    print(f'{backend}: building or loading the engine', file=sys.stderr)
    found = store.obtain(store.precision, force=False, progress=lambda share, what: True,
                         stopped=lambda: False)
    if found.engine is None:
        raise BackendError(f'backend {backend}: {found.problem}')
    return found.engine


class Run:
    """The frames of one backend.

    Parameters
    ----------
    name : str
    engine : Engine
    image : (height, width)
    memory_mb : float
        By which the process grew when the engine was loaded.
    """

    def __init__(self, name: str, engine, image: tuple[int, int], memory_mb: float) -> None:
        import numpy as np

        from depth_perception.estimator import DepthEstimator
        from depth_perception.geometry import Intrinsics

        self.name, self.engine, self.memory_mb = name, engine, memory_mb
        self._image = np.random.default_rng(0).integers(0, 256, (*image, 3), np.uint8)
        self._intrinsics = Intrinsics.from_hfov(image[1], image[0], 60.0)
        self._estimator = DepthEstimator(engine)
        self._seconds: dict[str, list[float]] = {stage: [] for stage in STAGES}
        self.cpu_s, self.wall_s = 0.0, 0.0
        for _ in range(3):      # buffers, caches, clocks
            self._estimator(self._image, self._intrinsics)

    def go(self, seconds: float) -> None:
        """Run frames for `seconds`."""
        clock = _Clock(self._seconds)
        cpu, start = time.process_time(), time.perf_counter()
        now = start
        while now < start + seconds:
            self._estimator(self._image, self._intrinsics, clock=clock)
            then, now = now, time.perf_counter()
            clock.record('frame', now - then)
        self.cpu_s += time.process_time() - cpu
        self.wall_s += now - start

    def figures(self, flops: int, peak_gflops: float | None) -> dict[str, Any]:
        """What is reported."""
        import numpy as np

        stages = {}
        for stage, values in self._seconds.items():
            p50, p90, p99 = 1e3 * np.percentile(values, (50, 90, 99))
            stages[stage] = {'p50_ms': p50, 'p90_ms': p90, 'p99_ms': p99}
        gflops = flops / 1e6 / stages['inference']['p50_ms']
        frames = len(self._seconds['frame'])
        return {'backend': self.name, 'engine': self.engine.backend, 'frames': frames,
                'stages': stages, 'frames_per_s': frames / self.wall_s,
                'cpu_ms_a_frame': 1e3 * self.cpu_s / frames, 'memory_mb': self.memory_mb,
                'gflops': gflops, 'gemm_peak_gflops': peak_gflops,
                'share_of_peak': gflops / peak_gflops if peak_gflops else None}


class _Clock:
    """Keeps every duration: the quantiles are over the whole run."""

    def __init__(self, seconds: dict[str, list[float]]) -> None:
        self._seconds = seconds

    def record(self, name: str, seconds: float) -> None:
        self._seconds[name].append(seconds)


def take_turns(runs: list[Run], seconds: float) -> None:
    """Run all backends in short turns, so that noise and clocks hit them alike."""
    rounds = max(1, round(seconds / _ROUND_S))
    for _ in range(rounds):
        for run_ in runs:
            run_.go(seconds / rounds)


def gemm_gflops(engine: str, threads: int) -> float | None:
    """Best GFLOP/s of a large FP32 matrix product by ONNX Runtime where the engine runs.

    None for TensorRT engines: their products run in other types.
    """
    provider = next((part for part in engine.split() if part.endswith('ExecutionProvider')), '')
    if provider == 'TensorrtExecutionProvider' or not provider:
        return None
    call = _gemm(provider, threads)
    call()
    best = min(_timed(call) for _ in range(_PEAK_REPEATS))
    return 2 * _PEAK_SIDE**3 / best / 1e9


def _gemm(provider: str, threads: int) -> Callable[[], Any]:
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper
    import onnxruntime as ort

    side = _PEAK_SIDE
    matrix = np.random.default_rng(0).random((side, side), np.float32)
    image, product = (helper.make_tensor_value_info(name, TensorProto.FLOAT, (side, side))
                      for name in ('a', 'c'))
    graph = helper.make_graph([helper.make_node('MatMul', ['a', 'b'], ['c'])], 'gemm', [image],
                              [product], [numpy_helper.from_array(matrix, 'b')])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[provider])
    # Operands and result stay where they are computed: only the product is timed.
    binding = session.io_binding()
    device = 'cpu' if provider.startswith('CPU') else 'cuda'
    binding.bind_ortvalue_input('a', ort.OrtValue.ortvalue_from_numpy(matrix, device))
    binding.bind_output('c', device)
    return lambda: session.run_with_iobinding(binding)


def _timed(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def resident_mb() -> float:
    """Memory of this process in MB; its peak where the system does not tell."""
    try:
        pages = int(Path('/proc/self/statm').read_text().split()[1])
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return pages * resource.getpagesize() / 1e6


def machine() -> dict[str, Any]:
    """Processor, its clock now, cores, GPU."""
    from depth_perception.inference.cuda_device import find_device

    try:
        text = Path('/proc/cpuinfo').read_text()
    except OSError:
        text = ''
    names = re.findall(r'model name\s*: (.*)', text)
    clocks = [float(mhz) for mhz in re.findall(r'cpu MHz\s*: ([\d.]+)', text)]
    gpu = find_device()
    return {'cpu': names[0] if names else platform.processor() or platform.machine(),
            'cores': os.cpu_count(), 'cpu_mhz': max(clocks, default=None),
            'system': platform.platform(),
            'gpu': gpu and {'name': gpu.description, 'clock_mhz': gpu.clock_mhz(),
                            'memory_mb': gpu.memory()[1] / 1e6}}


def versions() -> dict[str, str]:
    """Of what was measured."""
    from importlib import metadata

    names = ('numpy', 'opencv-python-headless', 'opencv-python', 'onnxruntime', 'onnxruntime-gpu',
             'openvino', 'tensorrt', 'tensorrt_rtx_cu13', 'cuda-bindings')
    found = {'python': platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def show(result: dict[str, Any]) -> None:
    """Print the figures as a table."""
    print(f'{result["model"]}, image {result["image"]}, network {result["network_input"]}, '
          f'{result["gflop"]:.2f} GFLOP a frame; {result["machine"]["cpu"]}, '
          f'{result["threads"]} threads')
    for row in result['backends']:
        print(f'\n{row["backend"]}: {row["engine"]}')
        print(f'  {"":14}{"p50":>9}{"p90":>9}{"p99":>9}  ms')
        for stage, values in row['stages'].items():
            print(f'  {stage:14}' + ''.join(f'{values[q]:9.2f}'
                                            for q in ('p50_ms', 'p90_ms', 'p99_ms')))
        print(f'  {row["frames_per_s"]:.1f} frames/s over {row["frames"]} frames, '
              f'{row["cpu_ms_a_frame"]:.1f} ms CPU a frame, {row["memory_mb"]:.0f} MB')
        share = '' if row['share_of_peak'] is None else (
            f', {100 * row["share_of_peak"]:.0f} % of the {row["gemm_peak_gflops"]:.0f} GFLOP/s '
            f'of a {_PEAK_SIDE}^3 product measured here')
        print(f'  {row["gflops"]:.0f} GFLOP/s{share}')
    if len(result['backends']) == 2:
        first, second = (row['stages']['frame']['p50_ms'] for row in result['backends'])
        print(f'\n{result["backends"][1]["backend"]} takes {second / first:.2f} times as long as '
              f'{result["backends"][0]["backend"]} for a frame (medians, in turn)')


def _as_text(result: dict[str, Any]) -> str:
    return json.dumps(result, indent=2) + '\n'
