"""Nothing here runs what a file says, and nothing listens to other machines: read off the code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted([ROOT / 'setup.py', *(path for folder in (
    'depth_perception', 'training', 'launch', 'scripts', 'benchmarks')
    for path in (ROOT / folder).rglob('*.py'))])
IDS = [str(path.relative_to(ROOT)) for path in FILES]

# Calls by which a file, or a word on the command line, becomes running code.
UNSAFE = {
    'eval', 'exec', 'os.system', 'os.popen', 'tempfile.mktemp', 'runpy.run_path',
    'yaml.load', 'yaml.load_all', 'yaml.full_load', 'yaml.unsafe_load',
    'pickle.load', 'pickle.loads', 'pickle.Unpickler', 'dill.load', 'dill.loads', 'joblib.load',
    'marshal.load', 'marshal.loads', 'shelve.open', 'pandas.read_pickle',
}
# A call -> the argument without which it is as bad, and the values that make it safe.
NEEDED = {'torch.load': ('weights_only', {'True'}), 'tar.extractall': ('filter', {"'data'"}),
          'tarfile.extractall': ('filter', {"'data'"})}
FORBIDDEN = {'allow_pickle': 'True', 'shell': 'True', 'Loader': None}
# Calls that open a port; their address is written there, or a constant of the module.
LISTENS = {'bind', 'HTTPServer', 'ThreadingHTTPServer', 'TCPServer', 'UDPServer', 'ViserServer',
           'create_server', 'start_server'}
LOOPBACK = {'127.0.0.1', '::1', 'localhost'}
ANYWHERE = {'0.0.0.0', '::', '[::]'}


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding='utf-8'), filename=str(path))


def unsafe_calls(tree: ast.AST) -> Iterator[str]:
    """Calls that may run what they read."""
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func)
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        argument, values = NEEDED.get(name, ('', set()))
        if name in UNSAFE or (values and given.get(argument) not in values):
            yield f'line {call.lineno}: {name}'
        yield from (f'line {call.lineno}: {name}({key}={given[key]})'
                    for key, value in FORBIDDEN.items()
                    if key in given and value in (None, given[key]))


def listeners(tree: ast.Module) -> Iterator[str]:
    """Ports that are opened on an address that is not known to be this machine's own."""
    constants = {ast.unparse(node.targets[0]): node.value.value for node in tree.body
                 if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)}
    for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
        name = ast.unparse(call.func).split('.')[-1]
        if name in LISTENS and host(call, constants) not in LOOPBACK:
            yield f'line {call.lineno}: {ast.unparse(call)}'
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and node.value in ANYWHERE:
            yield f'line {node.lineno}: {node.value!r}'


def host(call: ast.Call, constants: dict[str, object]) -> object:
    """The address given to a call: the first argument, or the first of its pair."""
    named = [keyword.value for keyword in call.keywords if keyword.arg in ('host', 'address')]
    first = (named or call.args or [ast.Constant(None)])[0]
    if isinstance(first, ast.Tuple):
        first = first.elts[0]
    return first.value if isinstance(first, ast.Constant) else constants.get(ast.unparse(first))


@pytest.mark.parametrize('path', FILES, ids=IDS)
def test_nothing_that_is_read_can_run(path):
    assert list(unsafe_calls(parse(path))) == []


@pytest.mark.parametrize('path', FILES, ids=IDS)
def test_nothing_listens_to_other_machines(path):
    assert list(listeners(parse(path))) == []


@pytest.mark.parametrize('code, found', [
    ('yaml.safe_load(text)', 0), ('yaml.load(text)', 1), ('yaml.load(text, Loader=X)', 2),
    ('torch.load(path)', 1), ('torch.load(path, weights_only=False)', 1),
    ('torch.load(path, weights_only=True)', 0), ('np.load(path)', 0),
    ('np.load(path, allow_pickle=True)', 1), ('pickle.loads(data)', 1), ('network.eval()', 0),
    ('eval(text)', 1), ('subprocess.run(command, shell=True)', 1), ('subprocess.run(words)', 0),
    ("tar.extractall(folder, filter='data')", 0), ('tar.extractall(folder)', 1),
])
def test_the_check_for_unsafe_calls_sees_what_it_should(code, found):
    assert len(list(unsafe_calls(ast.parse(code)))) == found


@pytest.mark.parametrize('code, found', [
    ("HTTPServer(('127.0.0.1', 80), H)", 0), ("HTTPServer(('', 80), H)", 1),
    ("HOST = '127.0.0.1'\nviser.ViserServer(HOST, 80)", 0), ('viser.ViserServer(port=80)', 1),
    ("HOST = '0.0.0.0'\nsocket.bind((HOST, 80))", 2), ('server.bind(address)', 1),
    ("create_server(H, host='localhost')", 0),
])
def test_the_check_for_listeners_sees_what_it_should(code, found):
    assert len(list(listeners(ast.parse(code)))) == found
