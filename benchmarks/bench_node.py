"""What the depth node costs beside its engine, and what it does under load.

    python benchmarks/bench_node.py

1. Overhead at 640x480: from the image's arrival until depth and cloud are published, less the
   engine's own time; beside a plain node (a queue in the callback, numpy preprocessing, Open3D
   cloud, ``tobytes`` messages) with the same engine, in turn.
2. 60 Hz in, a model that takes longer: the age of each depth image.
3. Memory over 2,000 frames.
4. ``process: every``: 500 frames at 60 Hz, none lost.
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import tempfile

import numpy as np
import rclpy
from sensor_msgs.msg import Image, PointCloud2

from depth_perception.model_spec import DEFAULT_MODEL, find_model, read_spec, write_spec
from depth_perception.tools.observer import Observer
from depth_perception.tools.processes import NodeProcess, graph_environment

HERE = Path(__file__).parent
RESULTS = HERE / 'results' / 'node.json'
DEPTH, POINTS = '/depth_node/depth/image_rect', '/depth_node/points'


def stream(count: int, rate_hz: float) -> subprocess.Popen:
    """Start the VGA camera process."""
    return subprocess.Popen([
        sys.executable, str(HERE / 'stream.py'), '--count', str(count), '--rate-hz',
        str(rate_hz)], env=graph_environment())


def overhead_ours(seconds: float) -> dict:
    """Read the node's own stage clock from /diagnostics after a run at 30 Hz."""
    observer = Observer()
    depths = observer.watch(DEPTH, Image)
    observer.watch(POINTS, PointCloud2)
    with NodeProcess('depth_node') as node:
        camera = stream(round(30 * seconds), 30.0)
        observer.spin(seconds + 10, lambda: camera.poll() is not None)
        _, values = observer.status_of('depth_node')
        cpu_ms = _cpu_seconds(node.pid) * 1e3 / max(1, len(depths.stamps_ns))
    observer.close()
    return {'values': values, 'frames': len(depths.stamps_ns), 'cpu_ms_per_frame': cpu_ms}


def overhead_plain(seconds: float) -> float:
    """Median overhead of the plain node in the same set-up, milliseconds."""
    observer = Observer()
    observer.watch(DEPTH, Image)
    observer.watch(POINTS, PointCloud2)
    plain = subprocess.Popen([sys.executable, str(HERE / 'plain_node.py'), str(seconds + 6)],
                             env=graph_environment(), stdout=subprocess.PIPE, text=True)
    camera = stream(round(30 * seconds), 30.0)
    observer.spin(seconds + 12, lambda: camera.poll() is not None)
    out, _ = plain.communicate()
    observer.close()
    return float(np.median(json.loads(out)))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _rss_mb(pid: int) -> float:
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def slower_model(folder: Path) -> Path:
    """Write the shipped model with a larger input, which takes longer than a frame at 60 Hz."""
    path = folder / 'slower.onnx'
    shutil.copy(find_model(DEFAULT_MODEL), path)
    write_spec(path, dataclasses.replace(
        read_spec(path), name='slower', input_height=352, input_width=480))
    return path


def age_under_load(seconds: float, model: Path) -> dict:
    """60 Hz in, a model that takes longer: how old is what comes out."""
    observer = Observer()
    depths = observer.watch(DEPTH, Image)
    with NodeProcess('depth_node', parameters={'model': str(model)}):
        camera = stream(round(60 * seconds), 60.0)
        observer.spin(seconds + 10, lambda: camera.poll() is not None)
        _, values = observer.status_of('depth_node')
    observer.close()
    latency = depths.latencies_ms()[10:]
    return {
        'inference_p50_ms': float(values['inference p50 [ms]']),
        'output_age_p50_ms': float(values['output age p50 [ms]']),
        'output_age_p99_ms': float(values['output age p99 [ms]']),
        'arrival_p50_ms': float(np.percentile(latency, 50)),
        'rate_in_hz': float(values['input rate [Hz]']),
        'overwritten': int(values.get('overwritten', 0)),
        'frames': len(depths.stamps_ns),
    }


def memory_over(frames: int) -> dict:
    """Resident memory after the first tenth and at the end."""
    observer = Observer()
    depths = observer.watch(DEPTH, Image)
    observer.watch(POINTS, PointCloud2)
    with NodeProcess('depth_node') as node:
        # More than needed: what counts is frames that went through the model.
        camera = stream(3 * frames, 60.0)
        observer.spin(300, lambda: len(depths.stamps_ns) >= frames // 10)
        early = _rss_mb(node.pid)
        observer.spin(300, lambda: len(depths.stamps_ns) >= frames or camera.poll() is not None)
        late = _rss_mb(node.pid)
        camera.terminate()
        camera.wait()
    observer.close()
    return {'frames': len(depths.stamps_ns), 'early_mb': early, 'late_mb': late}


def every_frame(count: int, model: Path) -> dict:
    """``process: every`` at 60 Hz with a model slower than that."""
    observer = Observer()
    depths = observer.watch(DEPTH, Image, depth=count)
    with NodeProcess('depth_node', parameters={'process': 'every', 'model': str(model)}):
        camera = stream(count, 60.0)
        observer.spin(count / 5, lambda: len(depths.stamps_ns) >= count)
        camera.wait()
        observer.spin(2.0, lambda: len(depths.stamps_ns) >= count)
    observer.close()
    stamps = depths.stamps_ns
    return {'sent': count, 'out': len(stamps), 'in_order': stamps == sorted(set(stamps))}


def main() -> None:
    """Run all four and write the JSON."""
    os.environ.update(graph_environment({'ROS_DOMAIN_ID': str(60 + os.getpid() % 40),
                                         **os.environ}))
    rclpy.init()
    ours, plain = overhead_ours(10.0), overhead_plain(10.0)
    values = ours['values']
    overhead = float(values['total p50 [ms]']) - float(values['inference p50 [ms]'])
    results = {
        'overhead_ms': overhead,
        'plain_overhead_ms': plain,
        'ratio': plain / overhead,
        'cpu_ms_per_frame': ours['cpu_ms_per_frame'],
        'stages': {key: value for key, value in values.items() if '[ms]' in key},
        'memory': memory_over(2000),
    }
    with tempfile.TemporaryDirectory() as folder:
        model = slower_model(Path(folder))
        results['age'] = age_under_load(10.0, model)
        results['every'] = every_frame(500, model)
    rclpy.shutdown()
    _show(results)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + '\n')


def _show(results: dict) -> None:
    age, memory, every = results['age'], results['memory'], results['every']
    print(f'overhead {results["overhead_ms"]:.2f} ms beside inference; plain node '
          f'{results["plain_overhead_ms"]:.1f} ms: {results["ratio"]:.1f} x')
    bound = age['inference_p50_ms'] + 1000 / 60
    print(f'60 Hz in, inference {age["inference_p50_ms"]:.1f} ms: age p50 '
          f'{age["output_age_p50_ms"]:.1f}, p99 {age["output_age_p99_ms"]:.1f} ms; one inference '
          f'and one frame are {bound:.1f} ms')
    print(f'memory {memory["early_mb"]:.0f} -> {memory["late_mb"]:.0f} MB over '
          f'{memory["frames"]} frames')
    print(f'every: {every["out"]} of {every["sent"]} frames came out, in order: '
          f'{every["in_order"]}')


if __name__ == '__main__':
    main()
