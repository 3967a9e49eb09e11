"""Which topics of a bag are the picture, its depth, their cameras and the focus of the lens."""
from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
import difflib

from depth_perception.image_encodings import COLOR_ENCODINGS
from training.data.bag_files import Recording
from training.data.root import DataError

IMAGE, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
INFO, FOCUS = 'sensor_msgs/msg/CameraInfo', 'sensor_msgs/msg/JointState'
SUFFIXES = ('/compressed', '/compressedDepth')
# What the package's own nodes publish was predicted: never the truth, unless it is asked for.
OWN_NODES = {'depth_node', 'focus_depth_node', 'point_cloud_node', 'stereo_view_node',
             'multi_depth_node'}
NO_DEPTH = ('confidence', 'disparity', 'relative')
FOCUS_NAME = 'focus_distance'
TYPES = {'image': (IMAGE, COMPRESSED), 'depth': (IMAGE, COMPRESSED), 'info': (INFO,),
         'depth_info': (INFO,), 'focus': (FOCUS,)}
OPTIONS = {'image': '--image-topic', 'depth': '--depth-topic', 'info': '--info-topic',
           'depth_info': '--depth-info-topic', 'focus': '--focus-topic'}


class TopicError(DataError):
    """A bag has no topic of a kind, or several; the text names those that it has."""


@dataclass(frozen=True)
class Names:
    """Topics by name; '' where it is for the bag to tell, or where there is none."""

    image: str = ''
    depth: str = ''
    info: str = ''
    depth_info: str = ''
    focus: str = ''

    @property
    def read(self) -> list[str]:
        """The topics whose messages are needed."""
        names = self.image, self.depth, self.info, self.depth_info, self.focus
        return list(dict.fromkeys(filter(None, names)))


@dataclass(frozen=True)
class Candidate:
    """One topic of images, by its first message."""

    name: str
    kind: str  # 'colour', 'grey', 'depth' or '' for what cannot be read
    encoding: str
    frame: str

    @property
    def base(self) -> str:
        """Name without the suffix of image_transport."""
        for suffix in SUFFIXES:
            if self.name.endswith(suffix):
                return self.name[:-len(suffix)]
        return self.name

    @property
    def folder(self) -> str:
        """Namespace of the camera."""
        return self.base.rpartition('/')[0]

    @property
    def is_own(self) -> bool:
        """Whether a node of this package published it."""
        return bool(OWN_NODES & set(self.name.split('/')))


def candidates(recording: Recording) -> list[Candidate]:
    """Return the topics of images that hold any, as their first messages show them."""
    found = []
    for topic in recording.topics.values():
        if topic.type in (IMAGE, COMPRESSED) and topic.count:
            first = recording.first(topic.name)
            encoding = getattr(first, 'encoding', None) or getattr(first, 'format', '')
            frame = first.header.frame_id if first is not None else ''
            kind = _kind(topic.name, encoding, topic.type == COMPRESSED)
            found.append(Candidate(topic.name, kind, encoding, frame))
    return found


def _kind(name: str, encoding: str, compressed: bool) -> str:
    lower = encoding.lower()
    if not compressed:
        if lower.startswith(('16uc1', '32fc1')) or (lower == 'mono16' and 'depth' in name):
            return 'depth'
        if encoding in COLOR_ENCODINGS:
            return 'grey' if lower.startswith(('mono', '8uc1')) else 'colour'
        return ''
    if 'compresseddepth' in lower or lower.startswith(('16uc1', '32fc1')):
        return 'depth'
    if not any(word in lower for word in ('jpeg', 'jpg', 'png')):
        return ''
    return 'grey' if lower.startswith('mono') else 'colour'


def choose(recording: Recording, wanted: Names = Names()) -> tuple[Names, list[Candidate]]:
    """Return the topics to read, and all topics of images.

    Parameters
    ----------
    wanted
        Topics that are named; each must be there.

    Raises
    ------
    TopicError
        A named topic is missing, empty or of another type, or there is no picture, or several are
        as good.
    """
    _require(recording, wanted)
    images = candidates(recording)
    depths = [each for each in images if each.kind == 'depth'
              and not each.is_own and not any(word in each.name for word in NO_DEPTH)]
    image = _named(images, wanted.image) or _picture(images, depths)
    depth = _named(images, wanted.depth) or _depth(image, depths)
    names = Names(
        image.name, depth.name if depth else '',
        wanted.info or _info(recording, image),
        wanted.depth_info or (_info(recording, depth) if depth else ''),
        wanted.focus or _focus(recording, image))
    return names, images


def _require(recording: Recording, wanted: Names) -> None:
    for role, option in OPTIONS.items():
        name = getattr(wanted, role)
        if name and name not in recording.topics:
            raise TopicError(f'{recording.path} has no topic {name}; '
                             f'{_suggestion(recording, name, option)}')
        found = recording.topics.get(name)
        if found and found.type not in TYPES[role]:
            raise TopicError(f'{name} is of type {found.type}; {option} takes '
                             f'{" or ".join(TYPES[role])}')
        if found and not found.count:
            raise TopicError(f'{name} has no message; {option} takes a topic with some')


def _suggestion(recording: Recording, name: str, option: str) -> str:
    known = list(recording.topics)
    # First the same name in another namespace, then what is spelt alike.
    ends = [each for each in known if each.endswith(name) or name.endswith(each)]
    near = ends or difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if not near:
        return f'it has {", ".join(sorted(known)) or "none"}'
    text = f'its nearest is {near[0]}: {option} {near[0]}'
    if near[0].endswith(name):
        text += f', or for all topics --map {near[0][:-len(name)]}:=/'
    return text


def _named(images: list[Candidate], name: str) -> Candidate | None:
    return next((each for each in images if each.name == name), None) if name else None


def _picture(images: list[Candidate], depths: list[Candidate]) -> Candidate:
    pictures = [each for each in images if each.kind in ('colour', 'grey') and not each.is_own]
    if not pictures:
        unread = ', '.join(f'{each.name} ({each.encoding})' for each in images if not each.kind)
        raise TopicError('no topic has colour pictures'
                         + (f'; {unread} cannot be read' if unread else ''))
    frames = {each.frame for each in depths}

    def rank(each: Candidate) -> tuple:
        return (each.kind == 'grey', each.frame not in frames)

    best = min(map(rank, pictures))
    return _one([each for each in pictures if rank(each) == best], 'pictures', OPTIONS['image'])


def _depth(image: Candidate, depths: list[Candidate]) -> Candidate | None:
    if not depths:
        return None

    def rank(each: Candidate) -> tuple:
        return (each.frame != image.frame, 'depth' not in each.name,
                each.folder.rpartition('/')[0] != image.folder.rpartition('/')[0])

    best = min(map(rank, depths))
    return _one([each for each in depths if rank(each) == best], 'depth', OPTIONS['depth'])


def _one(found: list[Candidate], what: str, option: str) -> Candidate:
    """Return the only camera's topic, raw rather than compressed, unrectified rather than not."""
    if len({each.folder for each in found}) > 1:
        names = ', '.join(sorted(each.name for each in found))
        raise TopicError(f'{what} lie on {names}; choose one with {option}')
    return min(found, key=lambda each: (each.name != each.base, 'rect' in each.base, each.name))


def _info(recording: Recording, image: Candidate) -> str:
    infos = [topic.name for topic in recording.topics.values()
             if topic.type == INFO and topic.count]
    for folder in (image.folder, image.base):
        if f'{folder}/camera_info' in infos:
            return f'{folder}/camera_info'
    return next((name for name in infos if _frame(recording, name) == image.frame), '')


def _frame(recording: Recording, name: str) -> str | None:
    first = recording.first(name)
    return None if first is None else first.header.frame_id


def _focus(recording: Recording, image: Candidate) -> str:
    found = [topic.name for topic in recording.topics.values()
             if topic.type == FOCUS and topic.count and _tells_focus(recording, topic.name)]
    beside = [name for name in found if name.rpartition('/')[0] == image.folder]
    return next(iter(beside or found), '')


def _tells_focus(recording: Recording, name: str) -> bool:
    first = recording.first(name)
    return first is not None and FOCUS_NAME in first.name


def renamer(rules: Iterable[str]):
    """Return what renames topics by rules FROM:=TO for the start of their names.

    Raises
    ------
    DataError
        A rule is none.
    """
    pairs = []
    for rule in rules:
        old, sign, new = rule.partition(':=')
        if not sign or not old.startswith('/') or not new.startswith('/'):
            raise DataError(f'{rule!r} is no rule for names; write /robot1:=/ to take that '
                            'namespace away')
        pairs.append((old.rstrip('/'), new.rstrip('/')))

    def rename(name: str) -> str:
        for old, new in pairs:
            if name == old or name.startswith(f'{old}/'):
                return (new + name[len(old):]) or '/'
        return name

    return rename
