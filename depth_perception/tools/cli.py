"""The ``depth-perception`` command: parses, then calls one function."""

from __future__ import annotations

import argparse
from pathlib import Path
import sys

from depth_perception.model_spec import DEFAULT_FOCUS_MODEL, DEFAULT_MODEL
from depth_perception.tools import (
    bench,
    calibrate,
    doctor,
    engine,
    engine_build,
    models,
    record,
    stereo,
    view,
)


def main(argv: list[str] | None = None) -> int:
    """Run one sub-command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog='depth-perception', description='Depth from one camera, on ROS 2.'
    )
    commands = parser.add_subparsers(dest='command', required=True)
    _add_demo(commands)
    _add_demo_focus(commands)
    _add_demo_retrain(commands)
    _add_engine(commands)
    models.add_to(commands)
    bench.add_to(commands)
    stereo.add_to(commands)
    view.add_to(commands)
    record.add_to(commands)
    calibrate.add_to(commands)
    doctor.add_to(commands)
    arguments = vars(parser.parse_args(argv))
    command = arguments.pop('run')
    arguments.pop('command')
    arguments.pop('action', None)
    try:
        return command(**arguments)
    except (ValueError, RuntimeError, OSError) as error:
        print(f'depth-perception: {error}', file=sys.stderr)
        return 1


def _add_demo(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        'demo', help='real nodes on a photograph and a procedural room; pictures, bag, table'
    )
    demo.add_argument(
        '--source',
        help='your own video file, image, image folder or /dev/videoN instead',
    )
    demo.add_argument('--hfov-deg', type=float, default=60.0,
                      help='horizontal field of view of your own source (default: %(default)s)')
    demo.add_argument('--seconds', type=float, default=6.0,
                      help='how long each source is measured (default: %(default)s)')
    demo.add_argument('--output', type=Path, default=Path('demo_output'))
    demo.set_defaults(run=_demo)


def _add_engine(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser('engine', help='engines: build, list, verify, clear')
    actions = parser.add_subparsers(dest='action', required=True)
    engine_build.add_to(actions)
    engine.add_to(actions)


def _demo(**arguments) -> int:
    # Imported here: the other commands and --help need no ROS.
    from depth_perception.tools.demo import run

    return run(**arguments)


def _add_demo_focus(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        'demo-focus', help='a simulated lens sweeps its focus; depth, pictures, bag, table')
    demo.add_argument('--model', default=DEFAULT_FOCUS_MODEL,
                      help='model for focus stacks, name or path (default: %(default)s)')
    demo.add_argument('--single-image-model', default='',
                      help='what it is compared with (default: MODEL_single where that is '
                      f'installed, else {DEFAULT_MODEL})')
    demo.add_argument('--seconds', type=float, default=20.0,
                      help='how long is measured (default: %(default)s)')
    demo.add_argument('--output', type=Path, default=Path('demo_output'))
    demo.set_defaults(run=_demo_focus)


def _demo_focus(**arguments) -> int:
    from depth_perception.tools.demo_focus import run

    return run(**arguments)


def _add_demo_retrain(commands: argparse._SubParsersAction) -> None:
    demo = commands.add_parser(
        'demo-retrain', help='a robot in a strange building records, retrains, swaps its model')
    demo.add_argument('--model', default=DEFAULT_MODEL,
                      help='to start from (default: %(default)s)')
    demo.add_argument('--style', default='arcade', help='of the rooms (default: %(default)s)')
    demo.add_argument('--rooms', default='40,4,8', metavar='TRAIN,VAL,TEST',
                      help='that are driven through (default: %(default)s)')
    demo.add_argument('--frames', type=int, default=80,
                      help='recorded in each room (default: %(default)s)')
    demo.add_argument('--max-rate', type=float, default=4.0,
                      help='frames a second of them that are kept (default: %(default)s)')
    demo.add_argument('--output', type=Path, default=Path('demo_output'))
    demo.add_argument('settings', nargs='*', metavar='key=value',
                      help='of training/configs/finetune.yaml')
    demo.set_defaults(run=_demo_retrain)


def _demo_retrain(rooms: str, settings: list[str], output: Path, **arguments) -> int:
    from depth_perception.tools.demo_retrain import Plan, rooms_of, run

    return run(Plan(rooms=rooms_of(rooms), settings=tuple(settings), **arguments), output)


if __name__ == '__main__':
    sys.exit(main())
