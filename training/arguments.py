"""The command line that all commands of training share: ``CONFIG key=value ...``.

A checkpoint stands for the config that it was trained with.
"""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
import logging

from training.checkpoint import CheckpointError, read_checkpoint
from training.config import Config, ConfigError, config_from, load_config
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
        The second has ``checkpoint`` where the first argument was one.
    """
    parser.add_argument('config', help='YAML file of training/configs, or a checkpoint')
    parser.add_argument('overrides', nargs='*', metavar='key=value')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    pairs = [text for text in arguments.overrides if text.partition('=')[0] in own]
    others = [text for text in arguments.overrides if text not in pairs]
    try:
        config = _read(arguments.config, others)
        check(config)
        is_checkpoint = arguments.config.endswith(SUFFIX)
        given = {'checkpoint': arguments.config} if is_checkpoint else {}
        return config, given | dict(x.split('=', 1) for x in pairs)
    except (ConfigError, CheckpointError) as error:
        parser.error(str(error))


def _read(path: str, overrides: Sequence[str]) -> Config:
    if path.endswith(SUFFIX):
        return config_from(read_checkpoint(path).config, overrides)
    return load_config(path, overrides)
