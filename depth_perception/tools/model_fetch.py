"""``depth-perception models fetch``: a published model, from its publisher to this machine.

Nothing is redistributed here. A download counts only if its SHA-256 is the one that the user
gives (from the publisher's page), and only after the licence was shown and accepted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import hashlib
from pathlib import Path
import re
import urllib.error
import urllib.parse
import urllib.request

_CHUNK = 1 << 20
_TIMEOUT_S = 30


class FetchError(ValueError):
    """A download that is not possible, not allowed, or not what it should be."""


@dataclass(frozen=True)
class Published:
    """A model that its authors (or their community) publish as ONNX.

    `preset` is one of `model_presets.PRESETS`.
    """

    url: str
    preset: str
    licence: str
    source: str


_HUB = 'https://huggingface.co'
CATALOGUE = {
    'depth_anything_v2_small': Published(
        f'{_HUB}/onnx-community/depth-anything-v2-small/resolve/main/onnx/model.onnx',
        'depth_anything_v2', 'Apache-2.0', 'https://github.com/DepthAnything/Depth-Anything-V2'),
    'metric3d_vit_small': Published(
        f'{_HUB}/onnx-community/metric3d-vit-small/resolve/main/onnx/model.onnx',
        'metric3d_v2', 'BSD-2-Clause', 'https://github.com/YvanYin/Metric3D'),
    'midas_small': Published(
        'https://github.com/isl-org/MiDaS/releases/download/v2_1/model-small.onnx',
        'midas', 'MIT', 'https://github.com/isl-org/MiDaS'),
    'moge_2_small': Published(
        f'{_HUB}/Ruicheng/moge-2-vits-normal-onnx/resolve/main/model.onnx',
        'moge', 'MIT', 'https://github.com/microsoft/MoGe'),
}


def published(name: str) -> Published:
    """The catalogue's entry; FetchError with the names that exist."""
    if name not in CATALOGUE:
        raise FetchError(f'no published model is called {name!r}; there are '
                         f'{", ".join(CATALOGUE)}. Give --url for another one')
    return CATALOGUE[name]


def check_sha256(text: str) -> str:
    """The checksum in lower case.

    Raises
    ------
    FetchError
        If there is none, or it is no SHA-256.
    """
    if not text:
        raise FetchError('a checksum is required: give --sha256 with the one on the publisher\'s '
                         'page (Hugging Face shows it beside the file)')
    if not re.fullmatch(r'[0-9a-fA-F]{64}', text):
        raise FetchError(f'{text!r} is no SHA-256; it must be 64 hexadecimal digits')
    return text.lower()


def accept_licence(licence: str, source: str, accepted: str, ask: Callable[[str], str]) -> None:
    """Show a licence and have it accepted: by its name in `accepted`, or by a person.

    Parameters
    ----------
    ask : callable
        Shows a question and returns the answer; raises EOFError where nobody is there.

    Raises
    ------
    FetchError
        If it is not accepted.
    """
    if accepted and accepted == licence:
        return
    if accepted:
        raise FetchError(f'--accept-licence says {accepted!r}, the licence is {licence!r} '
                         f'({source}); read it and give its name')
    try:
        answer = ask(f'The weights are published under {licence} ({source}).\n'
                     'Do you accept it for your use? [y/N] ')
    except EOFError:
        answer = ''
    if answer.strip().lower() not in ('y', 'yes'):
        raise FetchError(f'the licence {licence} is not accepted, nothing was fetched; read it '
                         f'at {source} and give --accept-licence {licence!r}')


def download(url: str, target: Path, sha256: str, progress: Callable[[int, int], None]) -> None:
    """Write what lies at `url` to `target`, if its checksum is right; else leave nothing.

    Parameters
    ----------
    progress : callable
        Gets the bytes that are here and those in all (0: not known).

    Raises
    ------
    FetchError
        If the address is none, cannot be reached, or gives something else.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ('https', 'http') or not parts.netloc:
        raise FetchError(f'{url!r} is no web address; it must begin with https://')
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(target.name + '.part')
    try:
        found = _receive(url, draft, progress)
        if found != sha256:
            raise FetchError(f'{url} has the SHA-256 {found}, not {sha256}; it was changed or '
                             'cut off: compare the publisher\'s page, nothing was kept')
        draft.replace(target)
    except urllib.error.HTTPError as error:
        raise FetchError(f'{parts.netloc} answers {error.code} {error.reason} for {url}; the '
                         'file may have moved: look for it at the publisher, and give --url') \
            from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        reason = getattr(error, 'reason', error)
        raise FetchError(f'{parts.netloc} cannot be reached ({reason}): is this machine offline? '
                         'Fetch the file on another one, copy it here, and run "depth-perception '
                         'models import FILE.onnx"') from None
    finally:
        draft.unlink(missing_ok=True)


def _receive(url: str, draft: Path, progress: Callable[[int, int], None]) -> str:
    """Write the answer to `draft` and return its SHA-256."""
    digest, done = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer, draft.open('wb') as file:
        size = int(answer.headers.get('Content-Length') or 0)
        while chunk := answer.read(_CHUNK):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(done, size)
    return digest.hexdigest()
