"""One hop between two processes: our transport and allocator settings beside the defaults.

    python benchmarks/bench_hop.py            # 20 s a size

Ours: 16 MB of shared memory a process, best effort, KEEP_LAST 1, glibc told to keep big
blocks. Plain: Fast DDS and glibc as they come, reliable, which is what still delivers there.
Also shown: what best effort loses with the default transport.
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
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Image

from depth_perception.nodes._lifecycle import keep_big_blocks
from depth_perception.tools.processes import graph_environment

RESULTS = Path(__file__).parent / 'results' / 'hop.json'
VARIANTS = {  # name -> (our transport, best effort, our allocator)
    'ours': (True, True, True),
    'plain (reliable)': (False, False, False),
    'plain (best effort)': (False, True, False),
}


def listen(best_effort: bool, tuned: bool, count: int, timeout_s: float) -> None:
    """Receive until nothing comes for a while; print the latencies as JSON."""
    if tuned:
        keep_big_blocks()
    rclpy.init()
    node = rclpy.create_node('listener')
    latencies = []

    def receive(message: Image) -> None:
        stamp = message.header.stamp
        latencies.append(time.time() - stamp.sec - stamp.nanosec * 1e-9)

    reliability = ReliabilityPolicy.BEST_EFFORT if best_effort else ReliabilityPolicy.RELIABLE
    node.create_subscription(
        Image, 'image', receive, QoSProfile(depth=1 if best_effort else 5,
                                            reliability=reliability))
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + timeout_s
    while len(latencies) < count and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    rclpy.shutdown()
    print(json.dumps(latencies))


def measure(variant: str, size: str, seconds: float, rate_hz: float) -> dict:
    """Run publisher and listener as processes and return losses and latency."""
    transport, best_effort, tuned = VARIANTS[variant]
    env = graph_environment({**os.environ, 'ROS_DOMAIN_ID': str(60 + os.getpid() % 40)})
    if not transport:
        env.pop('FASTDDS_BUILTIN_TRANSPORTS')
    count = round(seconds * rate_hz)
    here = Path(__file__)
    listener = subprocess.Popen(
        [sys.executable, str(here), '--listen', json.dumps([best_effort, tuned, count,
                                                            seconds + 8])],
        env=env, stdout=subprocess.PIPE, text=True)
    stream = subprocess.Popen(
        [sys.executable, str(here.with_name('stream.py')), '--size', size, '--rate-hz',
         str(rate_hz), '--count', str(count)], env=env)
    out, _ = listener.communicate()
    stream.wait()
    latency = np.array(json.loads(out)) * 1e3
    return {
        'sent': count,
        'lost': count - len(latency),
        'p50_ms': float(np.percentile(latency, 50)) if len(latency) else None,
        'p99_ms': float(np.percentile(latency, 99)) if len(latency) else None,
    }


def main() -> None:
    """Compare the variants in turn and write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--listen')
    parser.add_argument('--seconds', type=float, default=20.0)
    arguments = parser.parse_args()
    if arguments.listen:
        listen(*json.loads(arguments.listen))
        return
    results: dict[str, dict] = {}
    for size in ('vga', 'hd', 'cloud'):
        results[size] = {
            name: measure(name, size, arguments.seconds, 30.0) for name in VARIANTS
        }
        ours, plain = results[size]['ours'], results[size]['plain (reliable)']
        results[size]['ratio_p50'] = plain['p50_ms'] / ours['p50_ms']
        for name in VARIANTS:
            row = results[size][name]
            p50 = f'{row["p50_ms"]:.2f}' if row['p50_ms'] is not None else '-'
            print(f'{size:6s} {name:20s} lost {row["lost"]:4d} of {row["sent"]}  p50 {p50} ms')
        print(f'{size:6s} ours is {results[size]["ratio_p50"]:.1f} x faster than plain reliable')
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
