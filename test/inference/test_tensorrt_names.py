"""Which names of TensorRT the code touches, and in which releases they exist.

The table was read from the bindings of TensorRT 10.3 (JetPack 6.1 and 6.2) and 11.4, and checked
on those of TensorRT for RTX 1.7. A name that one release lacks may stand only behind ``hasattr``.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / 'depth_perception'
FILES = sorted((PACKAGE / 'inference').glob('tensorrt_*.py'))

ALL = ('10.3', '11.4', 'rtx 1.7')
RTX = ('rtx 1.7',)
TABLE = {
    'Builder': {'num_DLA_cores': ALL, 'create_network': ALL, 'create_builder_config': ALL,
                'create_optimization_profile': ALL, 'build_serialized_network': ALL,
                'platform_has_fast_fp16': ('10.3',)},
    'NetworkDefinitionCreationFlag': {'STRONGLY_TYPED': ALL, 'EXPLICIT_BATCH': ('10.3',)},
    'INetworkDefinition': {'num_inputs': ALL, 'get_input': ALL},
    'ITensor': {'name': ALL, 'shape': ALL},
    'OnnxParser': {'parse_from_file': ALL, 'num_errors': ALL, 'get_error': ALL,
                   'supports_operator': ALL},
    'ParserError': {'desc': ALL},
    'IBuilderConfig': {
        'set_memory_pool_limit': ALL, 'add_optimization_profile': ALL, 'progress_monitor': ALL,
        'create_timing_cache': ALL, 'set_timing_cache': ALL, 'default_device_type': ALL,
        'DLA_core': ALL, 'set_flag': ALL, 'num_compute_capabilities': RTX,
        'set_compute_capability': RTX, 'int8_calibrator': ('10.3',)},
    'MemoryPoolType': {'WORKSPACE': ALL},
    'BuilderFlag': {'GPU_FALLBACK': ALL, 'FP16': ('10.3',), 'INT8': ('10.3',)},
    'DeviceType': {'DLA': ALL},
    'IOptimizationProfile': {'set_shape': ALL},
    'ITimingCache': {'serialize': ALL},
    'IProgressMonitor': {'phase_start': ALL, 'step_complete': ALL, 'phase_finish': ALL},
    'ILogger': {'INTERNAL_ERROR': ALL, 'ERROR': ALL, 'WARNING': ALL, 'INFO': ALL, 'log': ALL},
    'Runtime': {'deserialize_cuda_engine': ALL, 'get_engine_validity': RTX},
    'ICudaEngine': {
        'num_io_tensors': ALL, 'get_tensor_name': ALL, 'get_tensor_dtype': ALL,
        'get_tensor_shape': ALL, 'get_tensor_profile_shape': ALL,
        'create_execution_context': ALL, 'create_runtime_config': ('11.4', 'rtx 1.7'),
        'create_execution_context_without_device_memory': ('10.3',),
        'device_memory_size': ('10.3',)},
    'IExecutionContext': {
        'set_input_shape': ALL, 'get_tensor_shape': ALL, 'set_tensor_address': ALL,
        'execute_async_v3': ALL, 'is_stream_capturable': RTX},
    'DataType': {'FLOAT': ALL, 'UINT8': ALL},
    'IInt8Calibrator': {'get_batch': ('10.3',)},
    'ComputeCapability': {'SM75': RTX, 'SM80': RTX, 'SM86': RTX, 'SM89': RTX, 'SM120': RTX},
    # The module itself.
    '': {'Builder': ALL, 'OnnxParser': ALL, 'Runtime': ALL, 'ILogger': ALL, 'DataType': ALL,
         'IProgressMonitor': ALL, 'NetworkDefinitionCreationFlag': ALL, 'MemoryPoolType': ALL,
         'BuilderFlag': ALL, 'DeviceType': ALL, 'ComputeCapability': RTX},
}
NAMES = {name: set(releases) for members in TABLE.values() for name, releases in members.items()}
# Ordinary Python names that the bindings have as well.
PYTHON = {name for kind in (list, dict, str, set) for name in dir(kind)} | {
    'log', 'module', 'engine', 'version', 'dtype', 'flags', 'nbytes', 'node', 'parse', 'DEBUG'}


def vocabulary(trt) -> set[str]:
    """Every public name of the bindings."""
    names = {name for name in dir(trt) if not name.startswith('_')}
    return names | {member for name in names if isinstance(getattr(trt, name), type)
                    for member in dir(getattr(trt, name)) if not member.startswith('_')}


def touched(tree: ast.AST, guarded: bool = False):
    """Attribute names that the code uses or sets: (name, line, whether behind hasattr)."""
    for node in ast.iter_child_nodes(tree):
        inside = guarded or asks_for_a_name(node)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) != 'np':
            yield node.attr, node.lineno, inside
        if isinstance(node, ast.FunctionDef):
            # after "if not hasattr(...): raise" the rest of the function is behind it
            inside = inside or any(isinstance(part, ast.If) and asks_for_a_name(part) and
                                   isinstance(part.body[-1], ast.Raise) for part in node.body)
        yield from touched(node, inside)


def asks_for_a_name(node: ast.AST) -> bool:
    if isinstance(node, (ast.If, ast.IfExp)):
        return any(isinstance(part, ast.Name) and part.id == 'hasattr'
                   for part in ast.walk(node.test))
    return False


def uses(path: Path) -> list[tuple[str, int, bool]]:
    return list(touched(ast.parse(path.read_text(encoding='utf-8'))))


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
@pytest.mark.parametrize('release', ALL)
def test_what_a_release_lacks_is_touched_only_behind_hasattr(path, release):
    lacking = [f'line {line}: {name}' for name, line, guarded in uses(path)
               if name in NAMES and release not in NAMES[name] and not guarded]
    assert lacking == []


@pytest.mark.parametrize('path', FILES, ids=lambda path: path.name)
def test_every_name_of_tensorrt_that_is_touched_stands_in_the_table(path):
    trt = pytest.importorskip('tensorrt_rtx')
    known = vocabulary(trt)
    missing = sorted({name for name, _, _ in uses(path)
                      if name in known and name not in NAMES and name not in PYTHON})
    assert missing == []


@pytest.mark.parametrize('module, release', [('tensorrt_rtx', 'rtx 1.7'), ('tensorrt', None)])
def test_the_table_says_what_the_installed_release_has(module, release):
    trt = pytest.importorskip(module)
    if release is None:
        major = int(trt.__version__.split('.')[0])
        release = {10: '10.3', 11: '11.4'}.get(major)
        if release is None:
            pytest.skip(f'the table has no column for TensorRT {trt.__version__}')
    wrong = []
    for owner, members in TABLE.items():
        holder = getattr(trt, owner, None) if owner else trt
        for name, releases in members.items():
            if (holder is not None and hasattr(holder, name)) != (release in releases):
                wrong.append(f'{owner}.{name}')
    assert wrong == []


@pytest.mark.parametrize('code, guards', [
    ('config.set_compute_capability(x, 0)', [False]),
    ('if hasattr(c, "set_compute_capability"):\n    c.set_compute_capability(x, 0)', [True]),
    ('def f(c):\n    if not hasattr(c, "set_compute_capability"):\n        raise ValueError\n'
     '    c.set_compute_capability(x, 0)', [True]),
])
def test_the_check_sees_what_it_should(code, guards):
    found = [guarded for name, _, guarded in touched(ast.parse(code))
             if name == 'set_compute_capability']
    assert found == guards
