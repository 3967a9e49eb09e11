"""Where weights come from, as exported contracts tell it."""

from __future__ import annotations

import hashlib
from pathlib import Path
import subprocess
from typing import Any, NamedTuple

from depth_perception.model_spec import ModelError, find_model, read_spec
from training.checkpoint import Checkpoint, CheckpointError, read_checkpoint
from training.config import Config, ConfigError, config_from, load_config
from training.data.root import REPOSITORY

GIT_TIMEOUT_S = 10
#: Of a config: what says where files lie on the machine that trained, not what was trained.
MACHINE = ('output', 'init', 'resume', 'provenance')


class Start(NamedTuple):
    """A trained model to start from.

    Attributes
    ----------
    name : str
    config : Config
        What it was trained by.
    weights : str
        File of its weights, for `training.checkpoint.load_init`.
    told : dict
        What a contract says of it: name, weights_sha256 (of a checkpoint that of the file),
        training_data, and started_from where it was fine-tuned itself.
    """

    name: str
    config: Config
    weights: str
    told: dict[str, Any]


def read_start(init: str) -> Start:
    """Find a model by the name of an installed one, an exported file, or a checkpoint.

    Raises
    ------
    CheckpointError
        There is none, or not all of the files of an export: NAME.onnx, .safetensors, .yaml.
    ConfigError
        Its config cannot be read.
    """
    if not init:
        raise ConfigError('init is empty; give the model to start from: init=NAME')
    if Path(init).suffix == '.ckpt':
        checkpoint = read_checkpoint(init)
        config = config_from(checkpoint.config)
        told = {'name': config.name,
                'weights_sha256': hashlib.sha256(Path(init).read_bytes()).hexdigest(),
                'training_data': training_data(checkpoint)}
        return Start(config.name, config, init, told | _origin(config.provenance))
    try:
        path = find_model(Path(init).with_suffix('.onnx') if Path(init).suffix else init)
        spec = read_spec(path)
    except ModelError as error:
        raise CheckpointError(f'init={init}: {error}') from error
    for suffix in ('.safetensors', '.yaml'):
        if not path.with_suffix(suffix).is_file():
            raise CheckpointError(
                f'init={init}: {path.with_suffix(suffix)} is missing; fine-tuning needs the '
                'weights and the config that training.export writes beside the ONNX file')
    told = {'name': spec.name, 'weights_sha256': spec.weights_sha256,
            'training_data': spec.training_data}
    config = load_config(path.with_suffix('.yaml'))
    return Start(path.stem, config, str(path.with_suffix('.safetensors')),
                 told | _origin(spec.provenance))


def _origin(told: dict[str, Any]) -> dict[str, Any]:
    return {'started_from': told['started_from']} if told.get('started_from') else {}


def training_data(trained: Checkpoint) -> str:
    """Tell what a checkpoint was trained on, with what it started from, as contracts have it."""
    told = trained.config.get('provenance', {})
    if 'started_from' not in told:
        return ', '.join(trained.sources)
    data = told['data']
    measured = '' if data['labels'] == 'measured' else ' (depth estimated, not measured)'
    new = [f"{data['name']}{measured}" if source == data['kind'] else source
           for source in trained.sources]
    return f"{told['started_from']['training_data']}; then {', '.join(new)}"


def commit() -> str:
    """Commit of this checkout, with ``-dirty`` where files differ from it; '' outside of one."""
    command = ['git', 'describe', '--always', '--dirty', '--abbrev=40', '--exclude=*']
    try:
        found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True,
                               timeout=GIT_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return ''
    return found.stdout.strip()


def provenance(trained: dict[str, Any], comparison: dict[str, Any] | None) -> dict[str, Any]:
    """Tell how a checkpoint came about, from its config and what it was compared with.

    Returns
    -------
    dict
        ``commit``; what the config's own provenance says: ``started_from``, ``data``, ``recipe``;
        ``config`` as plain values without the machine's folders; ``metrics`` where there are any.
    """
    config = {key: value for key, value in trained.items() if key not in MACHINE}
    if 'data' in config:
        config['data'] = {k: v for k, v in config['data'].items() if k not in ('root', 'workers')}
    told = {'commit': commit(), **trained.get('provenance', {}), 'config': config}
    if comparison:
        told['metrics'] = rounded(comparison)
    return _plain(told)


def rounded(value: Any) -> Any:
    """Return metrics, nested as they are, with four digits after the point."""
    if isinstance(value, dict):
        return {key: rounded(x) for key, x in value.items()}
    return round(value, 4) if isinstance(value, float) else value


def _plain(value: Any) -> Any:
    # Tuples would come back from JSON as lists.
    if isinstance(value, dict):
        return {str(key): _plain(x) for key, x in value.items()}
    return [_plain(x) for x in value] if isinstance(value, (list, tuple)) else value
