"""The command line that all commands of training share: ``CONFIG key=value ...``."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
import logging

from training.config import Config, ConfigError, load_config
from training.registry import check


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
    """
    parser.add_argument('config', help='YAML file of training/configs')
    parser.add_argument('overrides', nargs='*', metavar='key=value')
    arguments = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format='%(levelname)s %(name)s: %(message)s')
    pairs = [text for text in arguments.overrides if text.partition('=')[0] in own]
    others = [text for text in arguments.overrides if text not in pairs]
    try:
        config = load_config(arguments.config, others)
        check(config)
        return config, dict(x.split('=', 1) for x in pairs)
    except ConfigError as error:
        parser.error(str(error))
