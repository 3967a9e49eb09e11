"""A stand-in for a GPU, its driver and TensorRT's runtime: no GPU has run these tests.

`StandInDriver` has the functions of ``cuda.bindings.runtime`` that the runner calls. Its device
memory is host memory with addresses of its own account: who uses an address that was never
allocated, frees twice, or reads before the stream was waited for, fails the test. `StandInEngine`
has the methods of TensorRT's engine and context; the network is a Python function.
"""

from __future__ import annotations

from collections.abc import Callable
import ctypes
from enum import IntEnum
from types import SimpleNamespace

import numpy as np


class StandInDriver:
    """Functions and constants of cuda.bindings.runtime over plain memory."""

    cudaStreamNonBlocking = 1
    cudaHostAllocDefault = 0
    cudaHostAllocMapped = 2

    class cudaMemcpyKind(IntEnum):
        cudaMemcpyHostToDevice = 1
        cudaMemcpyDeviceToHost = 2

    class cudaStreamCaptureMode(IntEnum):
        cudaStreamCaptureModeThreadLocal = 1

    def __init__(self, *, integrated: bool = False, memory: int = 1 << 30) -> None:
        self.integrated, self.total = integrated, memory
        self.calls: list[str] = []
        self.device: dict[int, ctypes.Array] = {}
        self.host: dict[int, ctypes.Array] = {}
        self.streams: dict[int, list[Callable[[], None]]] = {}
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.executables: dict[int, list[Callable[[], None]]] = {}
        self.capturing: int | None = None
        self.fail: dict[str, int] = {}      # name of a call -> error code that it gives
        self.sticky = 0
        self._next = 1000

    def __getattribute__(self, name):
        found = object.__getattribute__(self, name)
        if not name.startswith('cuda') or not callable(found) or isinstance(found, type):
            return found

        def call(*arguments):
            if name == 'cudaGetErrorString':
                return found(*arguments)
            self.calls.append(name)
            code = self.sticky or self.fail.get(name, 0)
            return (code, None) if code else found(*arguments)
        return call

    def used(self) -> int:
        """Bytes allocated on the device."""
        return sum(len(block) for block in self.device.values())

    def leaks(self) -> list[str]:
        """What was allocated and not given back."""
        kept = {'device memory': self.device, 'host memory': self.host, 'streams': self.streams,
                'graphs': self.graphs, 'executables': self.executables}
        return [name for name, things in kept.items() if things]

    def cudaGetErrorString(self, error):
        return 0, f'error {int(error)}'.encode()

    def cudaGetLastError(self):
        return (0,)

    def cudaGetDeviceCount(self):
        return 0, 1

    def cudaSetDevice(self, index):
        return (0,)

    def cudaGetDeviceProperties(self, index):
        return 0, SimpleNamespace(name=b'Stand-in', major=8, minor=7, integrated=self.integrated,
                                  canMapHostMemory=1)

    def cudaMemGetInfo(self):
        return 0, self.total - self.used(), self.total

    def cudaHostAlloc(self, size, flags):
        block = (ctypes.c_ubyte * size)()
        self.host[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaHostGetDevicePointer(self, host, flags):
        assert self.integrated and host in self.host
        return 0, host

    def cudaFreeHost(self, host):
        del self.host[host]
        return (0,)

    def cudaMalloc(self, size):
        if self.used() + size > self.total:
            return 2, None
        block = (ctypes.c_ubyte * size)()
        self.device[ctypes.addressof(block)] = block
        return 0, ctypes.addressof(block)

    def cudaFree(self, pointer):
        del self.device[pointer]
        return (0,)

    def cudaStreamCreateWithFlags(self, flags):
        self.streams[self._handle()] = []
        return 0, self._next

    def cudaStreamDestroy(self, stream):
        del self.streams[stream]
        return (0,)

    def cudaStreamSynchronize(self, stream):
        work, self.streams[stream] = self.streams[stream], []
        for step in work:
            step()
        return (0,)

    def cudaMemcpyAsync(self, target, source, size, kind, stream):
        to_device = kind == self.cudaMemcpyKind.cudaMemcpyHostToDevice
        host, device = (source, target) if to_device else (target, source)
        assert len(self.host[host]) >= size and len(self.device[device]) >= size
        self.put(stream, lambda: ctypes.memmove(target, source, size))
        return (0,)

    def cudaStreamBeginCapture(self, stream, mode):
        assert not self.streams[stream], 'a capture begins on a stream that still works'
        self.capturing, self.recorded = stream, []
        return (0,)

    def cudaStreamEndCapture(self, stream):
        assert self.capturing == stream
        self.capturing = None
        self.graphs[self._handle()] = self.recorded
        return 0, self._next

    def cudaGraphInstantiate(self, graph, flags):
        self.executables[self._handle()] = self.graphs[graph]
        return 0, self._next

    def cudaGraphDestroy(self, graph):
        del self.graphs[graph]
        return (0,)

    def cudaGraphLaunch(self, graph, stream):
        for step in self.executables[graph]:
            self.put(stream, step)
        return (0,)

    def cudaGraphExecDestroy(self, graph):
        del self.executables[graph]
        return (0,)

    def put(self, stream, step):
        """Let a stream do something later; a stream that records only remembers it."""
        if self.capturing == stream:
            self.recorded.append(step)
        else:
            self.streams[stream].append(step)

    def array(self, pointer, shape, dtype):
        """What lies at a device address."""
        blocks = self.host if self.integrated else self.device
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        assert len(blocks[pointer]) >= size
        return np.frombuffer(blocks[pointer], dtype, int(np.prod(shape))).reshape(shape)

    def _handle(self):
        self._next += 1
        return self._next


FLOAT, UINT8 = 'float', 'uint8'


class StandInTensorRt:
    """What the runner takes of a TensorRt: module with Runtime, log."""

    name, version = 'stand-in', '0'

    def __init__(self, driver: StandInDriver, network, image, outputs, *, dtype=FLOAT,
                 limits=None, capturable=True, extra=None) -> None:
        self.driver, self.network, self.image = driver, network, tuple(image)
        self.outputs, self.dtype = tuple(outputs), dtype
        self.limits, self.capturable = limits, capturable
        self.extra = dict(extra or {})      # name of a further input -> its shape
        self.refuses = False
        self.module = SimpleNamespace(
            Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=self._load),
            DataType=SimpleNamespace(FLOAT=FLOAT, UINT8=UINT8))
        self.log = SimpleNamespace(take_errors=lambda: 'as the stand-in says')

    def _load(self, blob):
        return StandInEngine(self) if blob == b'engine' else None


class StandInEngine:
    """ICudaEngine."""

    def __init__(self, api):
        self.api = api
        self.image = 'image_bgr' if api.dtype == UINT8 else 'image'
        self.names = [self.image, *api.extra, *api.outputs]
        self.num_io_tensors = len(self.names)

    def get_tensor_name(self, i):
        return self.names[i]

    def get_tensor_dtype(self, name):
        return self.api.dtype if name == self.image else FLOAT

    def get_tensor_shape(self, name):
        return self.api.extra.get(name, self.api.image)

    def get_tensor_profile_shape(self, name, profile):
        return self.api.limits

    def create_execution_context(self):
        return StandInContext(self.api)


class StandInContext:
    """IExecutionContext."""

    def __init__(self, api):
        self.api, self.addresses = api, {}
        if not api.capturable:
            self.is_stream_capturable = lambda stream: False

    def set_input_shape(self, name, shape):
        if name in self.api.extra:
            return tuple(shape) == self.api.extra[name]
        low, _, high = self.api.limits or (self.api.image,) * 3
        self.image, self.shape = name, tuple(shape)
        return len(shape) == len(low) and all(
            a <= s <= b for a, s, b in zip(low, shape, high))

    def get_tensor_shape(self, name):
        if name in self.api.extra:
            return self.api.extra[name]
        if name == self.image:
            return self.shape
        size = self.shape[1:3] if self.api.dtype == UINT8 else self.shape[-2:]
        return (self.shape[0], 1, *size)

    def set_tensor_address(self, name, pointer):
        self.addresses[name] = pointer

    def execute_async_v3(self, stream):
        api, shape, addresses = self.api, self.shape, dict(self.addresses)
        if api.refuses:
            return False

        def work():
            dtype = np.uint8 if api.dtype == UINT8 else np.float32
            answers = api.network(
                api.driver.array(addresses[self.image], shape, dtype),
                *(api.driver.array(addresses[name], size, np.float32)
                  for name, size in api.extra.items()))
            for name, answer in zip(api.outputs, answers):
                api.driver.array(addresses[name], answer.shape, np.float32)[:] = answer
        api.driver.put(stream, work)
        return True
