"""How soon a kept engine answers, and whether a frame is lost when a new one takes over.

    python benchmarks/bench_engine_cache.py [--seconds 20]

The artefact in the cache is ONNX Runtime's graph, optimised for this CPU (backend ``graph``), and
no compiled GPU engine: what is measured is the cache, the verification and the swap.

1. Cache hit to first frame: a process of its own each time, from the call that loads the model to
   the first depth, and of a whole depth node from its start to the first depth message; beside
   them the same without a cache entry (ONNX Runtime answers, the engine comes later) and without
   any cache (backend ``cpu``).
2. Swap: a depth node at 640x480 and 30 Hz, asked twice by ``~/rebuild_engine`` to build anew.
   Frames that went in and did not come out, the longest pause between two outputs, and the age of
   the outputs while the engine was built, each beside the same node before. On a machine that is
   too slow or too busy for 30 Hz frames are lost before as well: then nothing follows from it.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime
import rclpy
from sensor_msgs.msg import Image
from std_srvs.srv import Trigger

from depth_perception.inference.engine_cache import cache_folder
from depth_perception.model_spec import DEFAULT_MODEL
from depth_perception.tools.observer import Observer
from depth_perception.tools.processes import NodeProcess, graph_environment

HERE = Path(__file__).parent
RESULTS = HERE / 'results' / 'engine_cache.json'
DEPTH = '/depth_node/depth/image_rect'
RATE_HZ = 30.0
ROUNDS = 5
TARGETS = {'cache hit to first frame [s]': 2.0, 'frames lost by the swap': 0}
LOAD = '''
import json, sys, time
import numpy as np
begin = time.perf_counter()
from depth_perception.inference import EngineSettings, serve
imported = time.perf_counter()
engine = serve(sys.argv[1], EngineSettings(sys.argv[2]))
engine.infer(np.zeros(engine.spec.input_shape, np.float32))
first, backend = time.perf_counter(), engine.backend
engine.wait()
engine.infer(np.zeros(engine.spec.input_shape, np.float32))
print(json.dumps({'import_s': imported - begin, 'first_s': first - imported, 'backend': backend,
                  'later_s': time.perf_counter() - imported, 'later': engine.backend}))
engine.close()
'''


def load_times(backend: str, empty: bool) -> dict:
    """Medians over processes that load the model and ask for one frame."""
    rows = []
    for _ in range(ROUNDS):
        if empty:
            shutil.rmtree(cache_folder(), ignore_errors=True)
        answer = subprocess.run([sys.executable, '-c', LOAD, DEFAULT_MODEL, backend], check=True,
                                capture_output=True, text=True, cwd=HERE.parent)
        rows.append(json.loads(answer.stdout))
    medians = {key: statistics.median(row[key] for row in rows)
               for key in ('import_s', 'first_s', 'later_s')}
    return {**medians, 'first frame by': rows[-1]['backend'], 'later frames by': rows[-1]['later']}


def stream(count: int) -> subprocess.Popen:
    """Start the VGA camera process."""
    return subprocess.Popen([sys.executable, str(HERE / 'stream.py'), '--count', str(count),
                             '--rate-hz', str(RATE_HZ)], env=graph_environment())


def node_start(backend: str) -> float:
    """Seconds from the start of the node's process to its first depth; a camera waits for it."""
    observer = Observer()
    depths = observer.watch(DEPTH, Image)
    camera = stream(600)
    observer.spin(2.0)      # the camera's process is up
    start = time.monotonic()
    with NodeProcess('depth_node', parameters={'backend': backend}) as node:
        observer.spin(60.0, lambda: bool(depths.stamps_ns))
        node.check_alive()
        seconds = time.monotonic() - start
    camera.terminate()
    camera.wait()
    observer.close()
    return seconds


def swap(seconds: float) -> dict:
    """Build anew twice while 30 Hz come in."""
    observer = Observer()
    depths = observer.watch(DEPTH, Image)
    client = observer.node.create_client(Trigger, '/depth_node/rebuild_engine')
    with NodeProcess('depth_node', parameters={'backend': 'graph'}):
        camera = stream(round(RATE_HZ * seconds))
        observer.spin(30.0, lambda: len(depths.stamps_ns) >= 3 * RATE_HZ)
        before = _counts(observer)
        first = len(depths.stamps_ns)
        builds = []
        for _ in range(2):
            quiet = (len(depths.stamps_ns), time.monotonic())
            client.call_async(Trigger.Request())
            observer.spin(2.0, lambda: _state(observer) == 'building')
            observer.spin(60.0, lambda: _state(observer) == 'serving')
            builds.append({'s': time.monotonic() - quiet[1],
                           'outputs': [quiet[0], len(depths.stamps_ns)]})
            observer.spin(1.5)
        after = _counts(observer)
        last = len(depths.stamps_ns)
        _, values = observer.status_of('depth_node')
        camera.terminate()
        camera.wait()
    observer.close()
    ages = depths.latencies_ms()
    pauses = np.diff(np.array(depths.arrivals_ns)) / 1e6
    inside = np.concatenate([np.arange(*build['outputs']) for build in builds])
    steps = np.rint(np.diff(np.array(depths.stamps_ns)) / 1e9 * RATE_HZ)  # 1: no frame between
    return {
        'backend at the end': values['backend'],
        'verdict': values['engine verdict'],
        'builds_s': [build['s'] for build in builds],
        'outputs': last - first,
        'outputs before': first,
        'overwritten, of which before': [after, before],
        'frames lost while building and by the swap': int((steps[first:last] - 1).sum()),
        'frames lost before': int((steps[:first - 1] - 1).sum()),
        'longest pause while building [ms]': float(pauses[inside - 1].max()),
        'longest pause before [ms]': float(pauses[30:first - 1].max()),
        'age while building p50 [ms]': float(np.median(ages[inside])),
        'age while building p99 [ms]': float(np.percentile(ages[inside], 99)),
        'age before p50 [ms]': float(np.median(ages[30:first])),
        'age before p99 [ms]': float(np.percentile(ages[30:first], 99)),
    }


def _state(observer: Observer) -> str:
    return observer.status_of('depth_node')[1].get('engine state', '')


def _counts(observer: Observer) -> int:
    return int(observer.status_of('depth_node')[1].get('overwritten', 0))


def main() -> None:
    """Run both and write the JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument('--seconds', type=float, default=25.0)
    arguments = parser.parse_args()
    os.environ.update(graph_environment({'ROS_DOMAIN_ID': str(60 + os.getpid() % 40),
                                         **os.environ}))
    with tempfile.TemporaryDirectory() as folder:
        os.environ['XDG_CACHE_HOME'] = folder
        rclpy.init()
        results = {
            'artefact': f'graph optimised by ONNX Runtime {onnxruntime.__version__} for this CPU',
            'targets': TARGETS,
            'empty cache': load_times('graph', empty=True),
            'cache hit': load_times('graph', empty=False),
            'no cache': load_times('cpu', empty=False),
            'node, cache hit, start to first depth [s]': [node_start('graph') for _ in range(3)],
            'node, no cache, start to first depth [s]': [node_start('cpu') for _ in range(3)],
            'swap': swap(arguments.seconds),
        }
        rclpy.shutdown()
    for name, value in results.items():
        print(f'{name}: {json.dumps(value, indent=2)}')
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + '\n')


if __name__ == '__main__':
    main()
