"""Pictures of people without depth, in their published layouts: Inria 3DMovie and PoseTrack.

Inria 3DMovie v1 (Alahari et al. 2013) has a folder for each task and part, and in each of them
``frames/`` (left pictures NAME.jpg, right ones NAME.jpg.right, test parts in numbered folders of
sequences), ``disparity/`` and ``labels/``. Labels of the segmentation task are MATLAB files whose
array ``det_gt`` (H, W, people) holds a mask of each person; they are found by the name of their
frame. Those of the other tasks hold no masks.

PoseTrack (Andriluka et al. 2018; 2017 alike) has ``images/PART/SEQUENCE/NUMBER.jpg`` and
``annotations/``: key points and boxes, no masks. Masks from elsewhere may be given: PNG pictures
by the same names below another folder, where a person is not 0.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from training.data.picture_files import read_depth
from training.data.root import DataError, UnreadableFile

PERSON = 1


@dataclass(frozen=True)
class Unlabelled:
    """One picture without depth: its name, its file, and that of its mask (None: it has none)."""

    name: str
    image: Path
    mask: Path | None = None


@dataclass(frozen=True)
class Layout:
    """How a data set lies on disk, and what one must know to use it.

    Attributes
    ----------
    find : callable
        Root and folder of masks ('' for none) -> its pictures, in the order of their names.
    homepage, licence : str
        Go into the provenance of what is made of it.
    """

    find: Callable[[Path, str], list[Unlabelled]]
    homepage: str
    licence: str


def inria(root: Path, masks: str = '') -> list[Unlabelled]:
    """Return the left pictures of Inria 3DMovie, or of a part of it.

    Raises
    ------
    DataError
        There is no frames/ folder, or none has a picture; or masks are given, which it has itself.
    """
    if masks:
        raise DataError(f'masks is {masks!r}, but Inria 3DMovie has its own in labels/; leave it '
                        'out')
    folders = sorted(path for path in root.rglob('frames') if path.is_dir())
    if root.name == 'frames':
        folders = [root]
    found = []
    for frames in folders:
        labels = _by_stem(frames.with_name('labels'))
        part = frames.parent.relative_to(root) if frames != root else Path()
        for image in sorted(frames.rglob('*.jpg')):
            below = image.relative_to(frames).with_suffix('')
            found.append(Unlabelled(str(part / below), image, labels.get(str(below))))
    return _some(found, root, 'PART/frames/NAME.jpg, as Inria 3DMovie has them')


def _by_stem(folder: Path) -> dict[str, Path]:
    # 12/00000007.jpg.mat is of the frame 12/00000007, whatever stands behind the number.
    return {str(path.relative_to(folder).with_name(path.name.split('.')[0])): path
            for path in sorted(folder.rglob('*.mat'))}


def posetrack(root: Path, masks: str = '') -> list[Unlabelled]:
    """Return the pictures of PoseTrack.

    Raises
    ------
    DataError
        There is no images/ folder, or it has no picture; or no mask has the name of a picture.
    """
    folder = root / 'images'
    mask_folder = Path(masks) if masks else None
    found = []
    for image in sorted(folder.rglob('*.jpg')):
        below = image.relative_to(folder).with_suffix('')
        mask = mask_folder / f'{below}.png' if mask_folder else None
        found.append(Unlabelled(str(below), image, mask if mask and mask.is_file() else None))
    if masks and found and not any(x.mask for x in found):
        raise DataError(f'{masks} has no mask for any of {len(found)} pictures; it must hold '
                        f'{found[0].name}.png and so on')
    return _some(found, root, 'images/PART/SEQUENCE/NUMBER.jpg, as PoseTrack has them')


def _some(found: Sequence[Unlabelled], root: Path, layout: str) -> list[Unlabelled]:
    if not found:
        raise DataError(f'{root} has no {layout}; give the folder that the archives were unpacked '
                        'into')
    return list(found)


def read_mask(path: Path, size: tuple[int, int]) -> np.ndarray | None:
    """Return where people are, (H, W) uint8 0 or PERSON; None where the file holds no masks.

    Raises
    ------
    UnreadableFile
        The file is damaged, or of another size than `size` (height, width).
    """
    stored = _people(path) if path.suffix == '.mat' else read_depth(path, 1.0)
    if stored is None:
        return None
    if stored.shape[:2] != size:
        raise UnreadableFile(f'{path} is {stored.shape[:2]}, its picture {size}; a mask has the '
                             'size of its picture')
    people = stored != 0 if stored.ndim == 2 else (stored != 0).any(axis=2)
    return (PERSON * people).astype(np.uint8)


def _people(path: Path) -> np.ndarray | None:
    from scipy.io import loadmat  # slow to import

    try:
        content = loadmat(path, variable_names=['det_gt'])
    # A cut-off file raises OSError, TypeError or ValueError; one of MATLAB 7.3 the last.
    except (OSError, TypeError, ValueError, NotImplementedError) as error:
        raise UnreadableFile(f'{path} is damaged or no MATLAB 5 file: {error}') from error
    return content.get('det_gt')


LAYOUTS = {
    'inria': Layout(
        inria, 'https://www.di.ens.fr/willow/research/stereoseg/',
        'non-commercial research, by its README; SPT-Depth states CC BY-SA 4.0'),
    'posetrack': Layout(posetrack, 'https://posetrack.net/', 'CC BY-NC 4.0'),
}
