"""The command line that all commands of training share: ``CONFIG key=value ...``.

A checkpoint stands for the config that it was trained with.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
import logging

from training.checkpoint import CheckpointError, read_checkpoint
from training.config import Config, ConfigError, config_from, load_config
from training.finetune_config import is_recipe
from training.registry import check

SUFFIX = '.ckpt'


def parse(
    parser: ArgumentParser, argv: Sequence[str] | None, own: Sequence[str] = ()
) -> tuple[Config, dict[str, str]]:
    """Read the config with its overrides, and the keys that belong to the command itself.

    Parameters
    ----------
    parser : ArgumentParser
        With the command's name and description; it ends the program where the config is wrong.
    argv : sequence of str or None
        None: the process's arguments.
    own : sequence of str
        Keys of the command, such as ``checkpoint``.

    Returns
    -------
    Config, dict of str
        The second has ``checkpoint`` where the first argument was one, and the parser's own
        options by name.
    """
    parser.add_argument('config', help='YAML file of training/configs, or a checkpoint')
    parser.add_argument('overrides', nargs='*', metavar='key=value')
    arguments = parser.parse_intermixed_args(argv)  # options may stand between key=value
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    pairs = [text for text in arguments.overrides if text.partition('=')[0] in own]
    others = [text for text in arguments.overrides if text not in pairs]
    try:
        config = _read(arguments.config, others)
        check(config)
        is_checkpoint = arguments.config.endswith(SUFFIX)
        given = {key: value for key, value in vars(arguments).items()
                 if key not in ('config', 'overrides')}
        if is_checkpoint:
            given['checkpoint'] = arguments.config
        return config, given | dict(x.split('=', 1) for x in pairs)
    except (ConfigError, CheckpointError) as error:
        parser.error(str(error))


def _read(path: str, overrides: Sequence[str]) -> Config:
    if path.endswith(SUFFIX):
        return config_from(read_checkpoint(path).config, overrides)
    if is_recipe(path):
        raise ConfigError(f'{path} is a recipe of fine-tuning, for training.train alone; give the '
                          'checkpoint that it left: OUTPUT/phase1.ckpt')
    return load_config(path, overrides)
