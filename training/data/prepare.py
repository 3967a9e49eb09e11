"""A robot's own recordings as a data set to train on.

    python -m training.data.prepare BAG… -o DATASET
    python -m training.train CONFIG data.dataset=bag data.root=DATASET

Bags are rosbag2 recordings (MCAP or sqlite3, compressed or not, split or not). Run again with
more bags it adds them; run again after a stop it goes on. docs/bags.md tells the rest.
"""
from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
import hashlib
import logging
from pathlib import Path
import shutil
import sys
from typing import Any

from tqdm import tqdm

from training.data.bag_blocks import AUTO, Blocks, Clock
from training.data.bag_convert import Converter, Tally
from training.data.bag_files import NotABag, Recording
from training.data.bag_frames import FrameReader
from training.data.bag_plan import Plan, Settings, plan
from training.data.bag_report import show
from training.data.bag_topics import OPTIONS, Names, TopicError, renamer
from training.data.bag_writer import DataSetWriter, stored_settings
from training.data.root import DataError

SCRATCH = '.unpacked'
STOPPED = 130  # exit status after Ctrl-C
DEFAULTS = Settings()
# What the frames of a bag depend on, and which of them are kept.
OF_FRAMES = ('split', 'tolerance', 'max_rate', 'blur', 'still', 'hfov_deg', 'depth_scale',
             'registered', 'slices')

ROLES = {'image': 'the pictures', 'depth': 'the depth', 'info': "the pictures' camera_info",
         'depth_info': "the depth's camera_info", 'focus': 'the focus of the lens'}
TYPES = {'split': str, 'width': int, 'slices': int}
HELP = {
    'split': 'auto cuts by blocks of time; train, val or test takes whole bags',
    'block_seconds': 'length of a block of time (default: a tenth of the longest bag, 2 to 60)',
    'gap_seconds': 'least time between frames of different splits (default: 2 or less)',
    'tolerance': 'largest difference of stamps that belong together, s (default: %(default)s)',
    'width': 'wider pictures are scaled down to it, 0: none is (default: %(default)s)',
    'max_rate': 'frames a second that are kept at most, 0: all (default: %(default)s)',
    'blur': 'how much more blurred than its neighbours a frame may be, 0: any (default: '
            '%(default)s)',
    'still': 'how much a frame differs from the last one kept, grey levels (default: %(default)s)',
    'hfov_deg': 'horizontal field of view of bags without camera_info, degrees',
    'depth_scale': 'metres of one unit of the depth, where its encoding tells wrongly',
    'registered': 'the depth lies over the picture, whatever its frame and camera_info say',
    'slices': 'pictures of a focus sweep (default: as many as the first sweeps have)',
}


@dataclass
class Row:
    """What became of one bag."""

    name: str
    topics: list[str] = field(default_factory=list)
    kind: str = ''
    tally: Tally = field(default_factory=Tally)
    notes: list[str] = field(default_factory=list)
    earlier: bool = False


@dataclass
class Summary:
    """What became of all bags, and what the data set holds now."""

    rows: list[Row]
    counts: dict[str, dict[str, int]]


def prepare(bags: Sequence[Path], output: Path, settings: Settings = DEFAULTS) -> Summary:
    """Make a data set of bags, go on with one, or add to one.

    Parameters
    ----------
    bags
        Folders of rosbag2, or single storage files.
    output
        Folder of the data set.

    Raises
    ------
    DataError
        The folder holds something else, or frames of a bag that were made with other settings;
        a setting cannot work, or the disk is full. What is wrong with a bag is told in its row.
    """
    rename, scratch = renamer(settings.maps), output / SCRATCH
    rows: list[Row] = []
    planned: list[tuple[Recording, Plan]] = []
    try:
        for number, path in enumerate(bags):
            found = _look(Path(path), scratch / str(number), rename, settings)
            if isinstance(found, Row):
                rows.append(found)
            else:
                planned.append(found)
        # A bag that cannot be used says nothing of how long blocks should be.
        if not planned and stored_settings(output) is None:
            return Summary(rows, {})
        # Recordings in the order of their time, so that what follows on another is seen to.
        planned.sort(key=lambda each: each[0].start_ns)
        writer, blocks = _data_set(output, [recording for recording, _ in planned], settings)
        for recording, made in planned:
            _key(recording, made, writer, settings)  # refused before anything is converted
        clock = Clock(blocks.gap_s)
        for recording, made in planned:
            clock.next_bag(recording.start_ns)
            rows.append(_convert(recording, made, writer, blocks, clock, settings))
            recording.close()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Summary(rows, writer.table())


def _look(path: Path, scratch: Path, rename: Callable[[str], str],
          settings: Settings) -> tuple[Recording, Plan] | Row:
    """Open a bag and plan what is made of it; the row of one that cannot be used."""
    try:
        recording = Recording(path, scratch, rename)
    except NotABag as error:
        return Row(path.name, notes=[str(error)])
    try:
        return recording, plan(recording, settings)
    except TopicError as error:
        return Row(recording.name, notes=[*recording.notes, str(error)])
    finally:
        recording.close()


def _data_set(output: Path, recordings: Sequence[Recording],
              settings: Settings) -> tuple[DataSetWriter, Blocks]:
    """Open the data set; its blocks of time are those that it began with."""
    known = stored_settings(output)
    if known:
        blocks = Blocks(known['block_seconds'], known['gap_seconds'])
        if (settings.block_seconds not in (0, blocks.block_s)
                or settings.gap_seconds not in (None, blocks.gap_s)):
            raise DataError(f'{output} has blocks of {blocks.block_s:g} s with gaps of '
                            f'{blocks.gap_s:g} s; leave them so, or name another folder with -o')
    else:
        blocks = Blocks.fitting(map(_seconds, recordings), settings.block_seconds,
                                settings.gap_seconds)
    same = {'width': settings.width, 'block_seconds': blocks.block_s,
            'gap_seconds': blocks.gap_s}
    return DataSetWriter(output, same), blocks


def _seconds(recording: Recording) -> float:
    return max(0, recording.end_ns - recording.start_ns) / 1e9


def _convert(recording: Recording, made: Plan, writer: DataSetWriter, blocks: Blocks,
             clock: Clock, settings: Settings) -> Row:
    row = Row(recording.name, made.names.read, made.kind)
    key = _key(recording, made, writer, settings)
    known = writer.bags.setdefault(key, {
        'name': row.name, 'fingerprint': recording.fingerprint(), 'kind': made.kind,
        'topics': made.names.read, 'settings': _of_frames(settings), 'finished': False})
    if known['finished']:
        row.earlier, row.notes = True, known['notes']
        clock.last = known['last'] and tuple(known['last'])
        row.tally = Tally(known['pictures'], Counter(known['kept']), Counter(known['left_out']))
        return row
    jumps = clock.jumps
    frames = FrameReader(recording, made, settings)
    converter = Converter(key, frames, writer, blocks, clock, settings)
    count = recording.topics[made.names.image].count if made.kind != 'focus' else None
    with tqdm(total=count, desc=row.name, unit='picture') as bar:
        row.tally = converter.run(bar.update)
    row.notes = [*recording.notes, *made.notes, *frames.problems]
    fits_s = Blocks.fitting([_seconds(recording)]).block_s
    if settings.split == AUTO and not settings.block_seconds and blocks.block_s < fits_s / 2:
        row.notes.append(f'blocks of {fits_s:g} s would fit it, and the data set has some of '
                         f'{blocks.block_s:g} s: its splits lie close together; another folder '
                         'has blocks of its own')
    if clock.jumps > jumps:
        row.notes.append(f'the clock jumped {clock.jumps - jumps} times')
    if frames.unread:
        row.notes.append(f'{frames.unread} messages are cut off')
    known |= {'finished': True, 'pictures': row.tally.pictures, 'kept': dict(row.tally.kept),
              'left_out': dict(row.tally.left_out), 'notes': row.notes, 'last': clock.last}
    writer.commit()
    return row


def _key(recording: Recording, made: Plan, writer: DataSetWriter, settings: Settings) -> str:
    """Return the name of a recording in the manifest: that which its files have there already.

    Raises
    ------
    DataError
        Frames of it were kept with other settings, or went to another split.
    """
    fingerprint = recording.fingerprint()
    asked = _of_frames(settings) | {'topics': made.names.read}
    for key, bag in [*writer.bags.items()]:
        if bag['fingerprint'] != fingerprint:
            continue
        had = bag.get('settings', {}) | {'topics': bag['topics']}
        again = bag['topics'][0] == made.names.image
        # Another of its cameras saw the same at the same time: only the split has to be the same.
        changed = next((name for name in (asked if again else ['split'])
                        if had.get(name, asked[name]) != asked[name]), '')
        if again and not changed:
            return key
        if changed and not (bag['finished'] and not bag['kept']):
            raise DataError(
                f'{writer.folder} holds {recording.name} with {changed} {had[changed]!r}, and now '
                f'it is {asked[changed]!r}; use the same for it, or name another folder with -o')
        if again:  # it came to nothing, so that nothing mixes
            del writer.bags[key]
    told = repr((fingerprint, made.kind, made.names, asked))
    return f'{recording.name}-{hashlib.sha256(told.encode()).hexdigest()[:12]}'


def _of_frames(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in OF_FRAMES}


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, prepare, show the table; 0 where the data set holds frames then."""
    arguments = vars(_parser().parse_args(argv))
    bags, output = arguments.pop('bags'), arguments.pop('output')
    names = Names(**{role: arguments.pop(f'{role}_topic') for role in OPTIONS})
    maps = tuple(arguments.pop('map'))
    logging.basicConfig(level=logging.ERROR, format='%(message)s')
    try:
        summary = prepare(bags, output, Settings(names=names, maps=maps, **arguments))
    except (DataError, OSError) as error:
        print(f'prepare: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('prepare: stopped; the same command goes on from here', file=sys.stderr)
        return STOPPED
    show(summary, output)
    return 0 if summary.counts else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog='python -m training.data.prepare', description=__doc__.split('\n')[0])
    parser.add_argument('bags', nargs='+', type=Path, metavar='BAG',
                        help='folder that ros2 bag record made, or one file of it')
    parser.add_argument('-o', '--output', type=Path, required=True, metavar='DATASET')
    for role, option in OPTIONS.items():
        parser.add_argument(option, dest=f'{role}_topic', default='', metavar='TOPIC',
                            help=f'topic of {ROLES[role]}')
    parser.add_argument('--map', action='append', default=[], metavar='FROM:=TO',
                        help='start of topic names in the bags, and what it shall be: '
                        '/robot1:=/ takes the namespace away')
    for field_of in fields(Settings):
        if field_of.name in HELP:
            parser.add_argument(
                f'--{field_of.name.replace("_", "-")}', default=field_of.default,
                **({'action': 'store_true'} if field_of.default is False
                   else {'type': TYPES.get(field_of.name, float)}), help=HELP[field_of.name])
    return parser


if __name__ == '__main__':
    raise SystemExit(main())
