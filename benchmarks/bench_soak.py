"""A long run at 30 Hz and 640x480: age of what comes out, memory, lost frames; cost of telling.

    PYTHONPATH=. python benchmarks/bench_soak.py --minutes 20

That is the run for the published figure; without --minutes it takes 2, for ``make bench``.

1. ``process: newest`` with depth and cloud subscribed: the age of each depth image at its
   subscriber, the memory of the node minute by minute and its slope, the frames that did not
   come out.
2. What the diagnostics cost a frame: the time of their calls, one by one, and of a status made
   and published once a second; beside it CPU time of the node with them and with them made void,
   in turn, which tells on a quiet machine alone.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import subprocess
import sys
import time

import numpy as np
import rclpy
from sensor_msgs.msg import Image, PointCloud2

from depth_perception.tools.observer import Observer
from depth_perception.tools.processes import NodeProcess, graph_environment

HERE = Path(__file__).parent
RESULTS = HERE / 'results' / 'soak.json'
DEPTH, POINTS = '/depth_node/depth/image_rect', '/depth_node/points'
RATE_HZ = 30.0
SETTLING_S = 20.0       # buffers are made, engines warm


def stream(count: int) -> subprocess.Popen:
    """Start the VGA camera process."""
    return subprocess.Popen(
        [sys.executable, str(HERE / 'stream.py'), '--count', str(count), '--rate-hz',
         str(RATE_HZ)], env=graph_environment())


def soak(minutes: float) -> dict:
    """Run for a time and sum up."""
    observer = Observer()
    depths, clouds = observer.watch(DEPTH, Image), observer.watch(POINTS, PointCloud2)
    memory: list[tuple[float, float]] = []
    count = round(60 * minutes * RATE_HZ)
    with NodeProcess('depth_node') as node:
        camera = stream(count)
        start = due = time.monotonic()
        while camera.poll() is None:
            observer.spin(1.0)
            now = time.monotonic() - start
            if now > SETTLING_S and time.monotonic() >= due:
                memory.append((now, _rss_mb(node.pid)))
                due = time.monotonic() + min(60.0, 6.0 * minutes)
                print(f'{now / 60:5.1f} min  {memory[-1][1]:7.1f} MB  '
                      f'{len(depths.stamps_ns)} frames', flush=True)
        _, values = observer.status_of('depth_node')
        node.check_alive()
    observer.close()
    ages = depths.latencies_ms()[round(RATE_HZ * 5):]
    times, sizes = np.array(memory or [(0.0, np.nan)]).T
    slope = np.polyfit(times / 3600.0, sizes, 1)[0] if len(times) > 1 else float('nan')
    return {
        'minutes': minutes, 'sent': count, 'depth': len(depths.stamps_ns),
        'clouds': len(clouds.stamps_ns), 'lost': count - len(depths.stamps_ns),
        'left_out_by_newest': int(values.get('overwritten', 0)),
        'received': int(values.get('received', 0)), 'codes': values.get('codes', ''),
        'age_p50_ms': float(np.percentile(ages, 50)), 'age_p99_ms': float(np.percentile(ages, 99)),
        'age_max_ms': float(ages.max()), 'memory_mb': sizes.tolist(),
        'memory_slope_mb_per_hour': float(slope),
        'memory_growth_percent': float(100 * (sizes[-1] / sizes[0] - 1)),
    }


def cost_of_diagnostics(seconds: float) -> dict:
    """CPU time a frame with and without them, in turn, and the time that one status takes."""
    runs: dict[str, list[float]] = {'with': [], 'without': []}
    for _ in range(2):
        for kind in runs:
            runs[kind].append(_cpu_ms_a_frame(kind, seconds))
    with_ms, without_ms = (float(np.median(runs[kind])) for kind in ('with', 'without'))
    calls_ms, status_ms = _calls_ms()
    return {'with_ms': with_ms, 'without_ms': without_ms, 'difference_ms': with_ms - without_ms,
            'calls_ms': calls_ms, 'status_ms': status_ms,
            'ms_a_frame': calls_ms + status_ms / RATE_HZ, 'ratio': with_ms / without_ms,
            'runs': runs}


def _cpu_ms_a_frame(kind: str, seconds: float) -> float:
    observer = Observer()
    depths = observer.watch(DEPTH, Image)
    observer.watch(POINTS, PointCloud2)
    node = subprocess.Popen([sys.executable, __file__, '--node', kind], env=graph_environment())
    try:
        camera = stream(round(RATE_HZ * (seconds + 5.0)))
        observer.spin(60.0, lambda: len(depths.stamps_ns) >= 3 * RATE_HZ)
        first, before = len(depths.stamps_ns), _cpu_s(node.pid)
        observer.spin(seconds)
        frames, spent = len(depths.stamps_ns) - first, _cpu_s(node.pid) - before
    finally:
        camera.terminate()
        node.terminate()
        camera.wait()
        node.wait()
        observer.close()
    return 1e3 * spent / max(1, frames)


def run_node(kind: str) -> int:
    """Be the depth node, with diagnostics or with each of their calls made void."""
    from depth_perception.nodes import depth_node
    from depth_perception.nodes._diagnostics import Health

    if kind == 'without':
        for name in ('count', 'received', 'processed', 'publish'):
            setattr(Health, name, lambda self, *arguments: None)
    return depth_node.main()


def _calls_ms() -> tuple[float, float]:
    """Median time of what is noted of one frame, and of gathering and publishing a status."""
    from depth_perception.nodes._diagnostics import Health

    node = rclpy.create_node('status')
    health = Health(node, lambda: [], lambda: {f'value {n}': n for n in range(10)})
    stages = ('wait', 'preprocess', 'inference', 'postprocess', 'depth', 'cloud', 'publish',
              'total', 'image age', 'output age')
    frames, statuses = [], []
    for number in range(600):
        start = time.perf_counter()
        health.received()
        for stage in stages:
            health.clock.record(stage, 0.001)
        health.processed()
        frames.append(time.perf_counter() - start)
        if number % 3 == 0:
            start = time.perf_counter()
            health.publish()
            statuses.append(time.perf_counter() - start)
    node.destroy_node()
    return 1e3 * float(np.median(frames)), 1e3 * float(np.median(statuses))


def _cpu_s(pid: int) -> float:
    fields = Path(f'/proc/{pid}/stat').read_text().rsplit(')', 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')


def _rss_mb(pid: int) -> float:
    pages = int(Path(f'/proc/{pid}/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 2**20


def main() -> None:
    """Run both and write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--minutes', type=float, default=2.0)
    parser.add_argument('--node', choices=('with', 'without'), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.node:
        raise SystemExit(run_node(arguments.node))
    os.environ.update(graph_environment({'ROS_DOMAIN_ID': str(60 + os.getpid() % 40),
                                         **os.environ}))
    rclpy.init()
    cost = cost_of_diagnostics(min(20.0, 10.0 * arguments.minutes))
    results = {'diagnostics': cost, 'soak': soak(arguments.minutes)}
    rclpy.shutdown()
    _show(results)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + '\n')


def _show(results: dict) -> None:
    run, cost = results['soak'], results['diagnostics']
    print(f'{run["minutes"]:g} min at {RATE_HZ:g} Hz, 640x480: age p50 {run["age_p50_ms"]:.1f}, '
          f'p99 {run["age_p99_ms"]:.1f} ms; {run["lost"]} of {run["sent"]} frames did not come '
          f'out, {run["left_out_by_newest"]} of them by policy; codes {run["codes"]}')
    print(f'memory {run["memory_mb"][0]:.0f} -> {run["memory_mb"][-1]:.0f} MB '
          f'({run["memory_growth_percent"]:+.2f} %), {run["memory_slope_mb_per_hour"]:+.1f} MB an '
          'hour')
    print(f'diagnostics: {cost["ms_a_frame"]:.3f} ms a frame ({cost["calls_ms"]:.3f} ms of calls, '
          f'one status a second of {cost["status_ms"]:.2f} ms); CPU a frame with and without: '
          f'{cost["with_ms"]:.2f}, {cost["without_ms"]:.2f} ms (ratio {cost["ratio"]:.3f})')


if __name__ == '__main__':
    main()
