"""``depth-perception models list | info | import | fetch``."""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path
import sys
import textwrap

import yaml

from depth_perception.tools.engine_build import size

# What the options replace in a preset, by the name of its field.
_OPTIONS = {'kind': 'kind', 'size': 'size', 'multiple': 'multiple', 'mean': 'mean', 'std': 'std',
            'canonical_focal_px': 'canonical_focal_px', 'depth_range': 'depth_range'}
KINDS = ('relative', 'metric', 'inverse', 'log')


def add_to(commands: argparse._SubParsersAction) -> None:
    """Add ``models`` to the command."""
    models = commands.add_parser('models', help='models: list, info, import, fetch')
    actions = models.add_subparsers(dest='action', required=True)
    actions.add_parser('list', help='what is installed').set_defaults(run=show_list)
    info = actions.add_parser('info', help='the contract of a model, in full')
    info.add_argument('model', help='name or path')
    info.set_defaults(run=show_info)
    _add_import(actions)
    _add_fetch(actions)


def _add_import(actions: argparse._SubParsersAction) -> None:
    imported = actions.add_parser(
        'import', help='make a foreign ONNX file a model with a contract',
        description='Reads inputs and outputs of the file, runs it once, puts what is missing '
                    'around it and installs it with its contract. The file itself stays as it '
                    'is. Options replace what the preset says.')
    imported.add_argument('file', type=Path)
    imported.add_argument('--preset', default='',
                          help='family of the network; see docs/engines.md')
    imported.add_argument('--kind', choices=KINDS,
                          help='what it gives: relative inverse depth, metres, 1/m, log metres')
    imported.add_argument('--name', default='', help='of the model (default: that of the file)')
    imported.add_argument('--output', type=Path, metavar='FILE',
                          help='write here instead of into the data folder')
    imported.add_argument('--output-name', default='', help='output of the network with the depth')
    imported.add_argument('--size', type=size, metavar='WIDTHxHEIGHT',
                          help='nominal network input where the file leaves it free')
    imported.add_argument('--multiple', type=int, help='free sizes are multiples of this; 0: none')
    imported.add_argument('--mean', type=_numbers(3), metavar='R,G,B', help='of x / 255')
    imported.add_argument('--std', type=_numbers(3), metavar='R,G,B', help='of x / 255')
    imported.add_argument('--canonical-focal-px', type=float, metavar='PX',
                          help='metres = output * f / this, f in px of the network input')
    imported.add_argument('--depth-range', type=_numbers(2), metavar='NEAR,FAR', help='metres')
    imported.add_argument('--licence', default='')
    imported.add_argument('--training-data', default='')
    imported.set_defaults(run=import_file)


def _add_fetch(actions: argparse._SubParsersAction) -> None:
    fetch = actions.add_parser('fetch', help='download a published model and import it')
    fetch.add_argument('name', nargs='?', default='', help='leave out to see which there are')
    fetch.add_argument('--url', default='', help='of another file than the catalogue\'s')
    fetch.add_argument('--preset', default='')
    fetch.add_argument('--sha256', default='', help='checksum on the publisher\'s page')
    fetch.add_argument('--licence', default='', help='with --url: the licence of that file')
    fetch.add_argument('--accept-licence', default='', metavar='NAME')
    fetch.set_defaults(run=fetch_model)


def _numbers(count: int):
    def parse(text: str) -> tuple[float, ...]:
        try:
            values = tuple(float(part) for part in text.split(','))
        except ValueError:
            values = ()
        if len(values) != count:
            raise argparse.ArgumentTypeError(f'{text!r} must be {count} numbers with commas')
        return values
    return parse


def show_list() -> int:
    """One line for each installed model."""
    from depth_perception.model_spec import ModelError, model_folders, read_spec

    seen: set[str] = set()
    for folder in model_folders():
        for file in sorted(folder.glob('*.onnx')):
            hidden = ' (hidden by the one above)' if file.stem in seen else ''
            seen.add(file.stem)
            try:
                spec = read_spec(file)
            except ModelError as error:
                print(f'{file.stem:28} unusable: {error}')
                continue
            free = f', multiples of {spec.size_multiple}' if spec.size_multiple else ''
            print(f'{file.stem:28} {spec.output_kind:9}{spec.input_width}x{spec.input_height}'
                  f'{free}  {file.stat().st_size / 1e6:.1f} MB  {spec.licence}{hidden}')
    return 0


def show_info(model: str) -> int:
    """All fields of the contract, and what the network costs."""
    import onnx

    from depth_perception.model_spec import find_model, load_graph, read_spec
    from depth_perception.tools.flops import count_flops

    path = find_model(model)
    spec = read_spec(path)
    graph = load_graph(path)
    print(path)
    for name, value in asdict(spec).items():
        print(f'  {name:20} {_told(value)}')
    numbers = sum(_product(t.dims) for t in graph.graph.initializer
                  if t.data_type in (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16))
    print(f'  {"weights":20} {numbers:,}')
    opsets = ', '.join(f'{o.domain or "onnx"} {o.version}' for o in graph.opset_import)
    print(f'  {"opset":20} {opsets}')
    print(f'  {"GFLOP a frame":20} {count_flops(graph, spec) / 1e9:.2f}')
    return 0


def _told(value: object) -> object:
    # Nested mappings, such as the provenance, one fact a line.
    if not isinstance(value, dict) or not value:
        return value
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=90,
                          default_flow_style=None)  # None: what holds plain values is one line
    return '\n' + textwrap.indent(text.rstrip(), ' ' * 4)


def _product(dims) -> int:
    result = 1
    for side in dims:
        result *= side
    return result


def import_file(file: Path, preset: str, name: str, output: Path | None, output_name: str,
                licence: str, training_data: str, **options) -> int:
    """Import one file and say what came out of it."""
    from depth_perception.model_contract import ModelError
    from depth_perception.model_spec import model_folders
    from depth_perception.tools.model_import import import_model
    from depth_perception.tools.model_presets import Preset, find_preset

    if not preset and not options['kind']:
        raise ModelError('what does the network give? Give --preset, or --kind '
                         f'{"|".join(KINDS)} with --mean and --std')
    base = find_preset(preset) if preset else Preset('imported', 'relative', (384, 384), 0)
    given = {_OPTIONS[key]: value for key, value in options.items() if value is not None}
    target = output or model_folders()[0] / f'{name or file.stem}.onnx'
    if target.resolve() == file.resolve():
        raise ModelError(f'{file} would be written over itself; give another --name or --output')
    spec, trial = import_model(file, target, replace(base, **given), output_name=output_name,
                               licence=licence, training_data=training_data)
    unit = {'metric': 'm', 'inverse': '1/m', 'log': 'log m'}.get(spec.output_kind, 'no unit')
    print(f'{target}: {spec.architecture}, {spec.output_kind}, input {spec.input_width}x'
          f'{spec.input_height}' + (f' or other multiples of {spec.size_multiple}'
                                    if spec.size_multiple else ''))
    print(f'trial on a photograph: 5 % {trial.low:.3g}, median {trial.median:.3g}, 95 % '
          f'{trial.high:.3g} ({unit})')
    for doubt in trial.doubts:
        print(f'doubtful: {doubt}', file=sys.stderr)
    return 0


def fetch_model(name: str, url: str, preset: str, sha256: str, licence: str,
                accept_licence: str) -> int:
    """Download a model into the data folder and import it."""
    from depth_perception.model_spec import model_folders
    from depth_perception.tools import model_fetch

    if not name and not url:
        for key, entry in model_fetch.CATALOGUE.items():
            print(f'{key:28} {entry.licence:14} {entry.url}')
        return 0
    if url:
        stem = name or Path(url).stem
        entry = model_fetch.Published(url, preset, licence or 'not stated', url)
    else:
        stem, entry = name, model_fetch.published(name)
    checksum = model_fetch.check_sha256(sha256)
    model_fetch.accept_licence(entry.licence, entry.source, accept_licence, input)
    target = model_folders()[0] / 'downloads' / f'{stem}.onnx'
    model_fetch.download(entry.url, target, checksum, _show_bytes)
    if not (preset or entry.preset):
        print(f'{target}: now "depth-perception models import" it, with what it gives (--kind)')
        return 0
    return import_file(target, preset or entry.preset, stem, None, '', entry.licence,
                       entry.source, **dict.fromkeys(_OPTIONS))


def _show_bytes(done: int, size: int) -> None:
    if sys.stderr.isatty():
        total = f' of {size / 1e6:.1f}' if size else ''
        print(f'\r{done / 1e6:.1f}{total} MB', end='\n' if done == size else '', file=sys.stderr,
              flush=True)
