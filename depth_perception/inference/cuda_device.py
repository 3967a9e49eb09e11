"""The GPU through cuda-bindings: memory, one stream, CUDA graphs. No torch.

Every call of the driver goes through `CudaDevice._call`, which turns its error codes into
exceptions that say what to do.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
import logging
from typing import Any

import numpy as np

from depth_perception.inference import BackendError

_LOG = logging.getLogger(__name__)

# Codes after which the process cannot use the GPU any more: cudaErrorHardwareStackError 714 to
# cudaErrorLaunchFailure 719, ECC 214, illegal address 700, launch timeout 702, device unavailable
# 46, context destroyed 709, no device 100, system not ready 802, unknown 999.
_LOST = {46, 100, 214, 700, 702, 709, 714, 715, 716, 717, 718, 719, 720, 802, 999}
_NO_MEMORY = 2


class GpuLostError(BackendError):
    """The GPU fails in a way that does not pass: run the model elsewhere."""


class GpuMemoryError(BackendError):
    """The memory of the GPU does not suffice."""


@dataclass(frozen=True)
class Buffer:
    """Memory for one tensor, on the host and on the device.

    Attributes
    ----------
    array : numpy array
        The host's side, pinned: the device copies without a detour.
    pointer : int
        Address on the device.
    shared : bool
        Whether both are the same memory (Jetson): nothing is copied.
    """

    array: np.ndarray
    pointer: int
    shared: bool
    host: int


class CudaDevice:
    """One GPU.

    Parameters
    ----------
    runtime : module
        ``cuda.bindings.runtime``, or a stand-in with the same functions.
    index : int

    Raises
    ------
    BackendError
        If there is no such device.
    """

    def __init__(self, runtime: Any, index: int = 0) -> None:
        self._cuda, self._index = runtime, index
        count = self._call('cudaGetDeviceCount')
        if index >= count:
            raise BackendError(f'GPU {index} is asked for; CUDA sees {count}')
        self._call('cudaSetDevice', index)
        properties = self._call('cudaGetDeviceProperties', index)
        name = properties.name
        self.name = (name.decode() if isinstance(name, bytes) else str(name)).strip('\x00 ')
        self.compute_capability = (int(properties.major), int(properties.minor))
        # Jetson: CPU and GPU use the same memory.
        self.shared_memory = bool(properties.integrated) and bool(properties.canMapHostMemory)
        self._kinds = runtime.cudaMemcpyKind

    @property
    def description(self) -> str:
        """Such as ``NVIDIA H200 sm_90``."""
        return '{} sm_{}{}'.format(self.name, *self.compute_capability)

    def bind_thread(self) -> None:
        """Let this thread use the device: CUDA's choice of a device is a thread's own."""
        self._call('cudaSetDevice', self._index)

    def memory(self) -> tuple[int, int]:
        """Free and total memory, bytes."""
        free, total = self._call('cudaMemGetInfo')
        return int(free), int(total)

    def clock_mhz(self) -> float:
        """Highest clock of the multiprocessors."""
        rate = self._cuda.cudaDeviceAttr.cudaDevAttrClockRate
        return int(self._call('cudaDeviceGetAttribute', rate, self._index)) / 1000

    def allocate(self, shape: tuple[int, ...], dtype: np.dtype) -> Buffer:
        """Allocate memory for one tensor.

        Raises
        ------
        GpuMemoryError
            If there is not enough; nothing stays allocated.
        """
        size = max(1, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        mapped = self._cuda.cudaHostAllocMapped if self.shared_memory else (
            self._cuda.cudaHostAllocDefault)
        host = int(self._call('cudaHostAlloc', size, mapped))
        try:
            pointer = int(self._call('cudaHostGetDevicePointer', host, 0) if self.shared_memory
                          else self._call('cudaMalloc', size))
        except BackendError:
            self._call('cudaFreeHost', host)
            raise
        block = (ctypes.c_ubyte * size).from_address(host)
        array = np.frombuffer(block, dtype, int(np.prod(shape))).reshape(shape)
        return Buffer(array, pointer, self.shared_memory, host)

    def free(self, buffer: Buffer) -> None:
        """Give the memory back; the array must not be used afterwards."""
        if not buffer.shared:
            self._call('cudaFree', buffer.pointer)
        self._call('cudaFreeHost', buffer.host)

    def upload(self, buffer: Buffer, stream: int) -> None:
        """Let the stream copy the host's side to the device."""
        if not buffer.shared:
            self._call('cudaMemcpyAsync', buffer.pointer, buffer.host, buffer.array.nbytes,
                       self._kinds.cudaMemcpyHostToDevice, stream)

    def download(self, buffer: Buffer, stream: int) -> None:
        """Let the stream copy the device's side to the host."""
        if not buffer.shared:
            self._call('cudaMemcpyAsync', buffer.host, buffer.pointer, buffer.array.nbytes,
                       self._kinds.cudaMemcpyDeviceToHost, stream)

    def make_stream(self) -> int:
        """Make a stream that does not wait for the default stream."""
        return int(self._call('cudaStreamCreateWithFlags', self._cuda.cudaStreamNonBlocking))

    def destroy_stream(self, stream: int) -> None:
        """Give a stream back."""
        self._call('cudaStreamDestroy', stream)

    def wait(self, stream: int) -> None:
        """Wait until the stream has done all; the GIL is free meanwhile."""
        self._call('cudaStreamSynchronize', stream)

    def begin_capture(self, stream: int) -> None:
        """Record what goes to the stream from now on instead of doing it."""
        self._call('cudaStreamBeginCapture', stream,
                   self._cuda.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)

    def end_capture(self, stream: int) -> Any:
        """End the recording and return a graph that can be launched."""
        graph = self._call('cudaStreamEndCapture', stream)
        try:
            return self._call('cudaGraphInstantiate', graph, 0)
        finally:
            self._call('cudaGraphDestroy', graph)

    def launch(self, graph: Any, stream: int) -> None:
        """Let the stream do what was recorded."""
        self._call('cudaGraphLaunch', graph, stream)

    def destroy_graph(self, graph: Any) -> None:
        """Give a graph back."""
        self._call('cudaGraphExecDestroy', graph)

    def check_lost(self) -> None:
        """Raise GpuLostError if an earlier call broke the GPU for good."""
        error = self._cuda.cudaGetLastError()
        self._raise('cudaGetLastError', error[0])

    def _call(self, name: str, *arguments: Any) -> Any:
        error, *values = getattr(self._cuda, name)(*arguments)
        self._raise(name, error)
        return None if not values else values[0] if len(values) == 1 else tuple(values)

    def _raise(self, name: str, error: Any) -> None:
        code = int(error)
        if not code:
            return
        text = self._cuda.cudaGetErrorString(error)[1]
        text = text.decode() if isinstance(text, bytes) else str(text)
        if code == _NO_MEMORY:
            raise GpuMemoryError(f'the memory of the GPU does not suffice ({name}: {text}); end '
                                 'what else uses it, or choose a smaller model or input size')
        if code in _LOST:
            raise GpuLostError(f'the GPU is lost ({name}: {text}, code {code}); what runs on it '
                               'has to be started anew, until then the CPU can do the work')
        raise BackendError(f'CUDA refuses {name} ({text}, code {code})')


def find_device(index: int = 0) -> CudaDevice | None:
    """Return the GPU `index`, or None where there is none, no driver or no cuda-bindings."""
    try:
        from cuda.bindings import runtime
    except ImportError:
        return None
    try:
        return CudaDevice(runtime, index)
    except BackendError as error:
        _LOG.info('%s', error)
        return None
