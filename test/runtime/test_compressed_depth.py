"""compressedDepth and RVL: against an encoder written as the paper has it, and damaged data."""

from contextlib import suppress
from types import SimpleNamespace

import cv2
from hypothesis import given, settings
from hypothesis import strategies as st
import numpy as np
import pytest

from depth_perception.compressed_depth import HEADER, RVL_SIZE, compressed_depth, decode_rvl
from depth_perception.image_encodings import MessageError


def message(kind, data):
    return SimpleNamespace(format=kind, data=np.frombuffer(data, np.uint8))


def png(values):
    return cv2.imencode('.png', np.asarray(values, np.uint16))[1].tobytes()


def rvl(values):
    """Encode number by number, nibble by nibble."""
    nibbles = []

    def number(value):
        while True:
            nibble, value = value & 7, value >> 3
            nibbles.append(nibble | 8 if value else nibble)
            if not value:
                return

    flat, at, previous = [int(v) for v in np.ravel(values)], 0, 0
    while at < len(flat):
        start = at
        while at < len(flat) and flat[at] == 0:
            at += 1
        number(at - start)
        start = at
        while at < len(flat) and flat[at] != 0:
            at += 1
        number(at - start)
        for value in flat[start:at]:
            delta, previous = value - previous, value
            number(2 * delta if delta >= 0 else -2 * delta - 1)
    nibbles += [0] * (-len(nibbles) % 8)
    words = [int(''.join(f'{n:x}' for n in nibbles[i:i + 8]), 16)
             for i in range(0, len(nibbles), 8)]
    return b''.join(word.to_bytes(4, 'little') for word in words)


DEPTH = np.array([[0, 1000, 1500], [2500, 0, 65535]], np.uint16)
METRES = np.array([[np.nan, 1.0, 1.5], [2.5, np.nan, 65.535]], np.float32)


@pytest.mark.parametrize('kind, data', [
    ('16UC1; compressedDepth', HEADER.pack(0, 0, 0) + png(DEPTH)),
    ('16UC1; compressedDepth png', HEADER.pack(-1, 0, 0) + png(DEPTH)),
    ('16UC1; compressedDepth png', png(DEPTH)),  # some drivers leave the header out
    ('16UC1; png compressed ', png(DEPTH)),
    ('16UC1; compressedDepth rvl', HEADER.pack(0, 0, 0) + RVL_SIZE.pack(3, 2) + rvl(DEPTH)),
])
def test_millimetres_come_out_as_metres_with_holes(kind, data):
    np.testing.assert_allclose(compressed_depth(message(kind, data)), METRES, rtol=1e-6)


@pytest.mark.parametrize('codec', ['png', 'rvl'])
def test_quantised_inverse_depth_comes_back_as_image_transport_wrote_it(codec):
    # compressed_depth_image_transport: a = q (q + 1), b = 1 - a / max, value = a / depth + b
    quantisation, farthest = 100.0, 10.0
    a = quantisation * (quantisation + 1)
    b = 1 - a / farthest
    metres = np.array([[0.6, 1.0, 2.0], [5.0, 9.9, np.nan]])
    inverse = a / np.nan_to_num(metres, nan=1.0) + b
    values = np.where(np.isnan(metres), 0, inverse).astype(np.uint16)
    payload = png(values) if codec == 'png' else RVL_SIZE.pack(3, 2) + rvl(values)
    read = compressed_depth(message(f'32FC1; compressedDepth {codec}',
                                    HEADER.pack(0, a, b) + payload))
    assert np.isnan(read[1, 2])
    np.testing.assert_allclose(read.ravel()[:5], metres.ravel()[:5], rtol=2e-3)


@settings(max_examples=60)
@given(st.lists(st.one_of(st.just(0), st.integers(0, 65535)), min_size=1, max_size=120))
def test_rvl_comes_back_whatever_the_picture(values):
    decoded = decode_rvl(rvl(values), 1, len(values))
    assert decoded.dtype == np.uint16 and decoded.tolist() == [values]


@pytest.mark.parametrize('kind, data, said', [
    ('jpeg', b'', 'is not depth'),
    ('16UC1; compressedDepth', b'12', 'cut short'),
    ('16UC1; compressedDepth png', HEADER.pack(0, 0, 0) + png(DEPTH)[:-20], 'cut off'),
    ('16UC1; compressedDepth png', HEADER.pack(0, 0, 0) + b'rubbish', 'no PNG'),
    ('16UC1; compressedDepth rvl', HEADER.pack(0, 0, 0) + RVL_SIZE.pack(3, 2), 'cut short'),
    ('16UC1; compressedDepth rvl', HEADER.pack(0, 0, 0) + RVL_SIZE.pack(3, 99) + rvl(DEPTH),
     'cut short'),
    ('16UC1; compressedDepth rvl', HEADER.pack(0, 0, 0) + RVL_SIZE.pack(0, 5) + rvl(DEPTH),
     '0x5'),
    ('32FC1; compressedDepth png', png(DEPTH), '12 bytes'),
    ('16UC1; compressedDepth', HEADER.pack(0, 0, 0) + cv2.imencode(
        '.png', np.zeros((2, 2, 3), np.uint8))[1].tobytes(), 'one uint16'),
])
def test_what_cannot_be_decoded_is_refused_with_the_reason(kind, data, said):
    with pytest.raises(MessageError, match=said):
        compressed_depth(message(kind, data))


@settings(max_examples=60)
@given(st.binary(max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_rubbish_is_refused_or_gives_a_picture_of_that_size(data, height, width):
    with suppress(MessageError):
        assert decode_rvl(data, height, width).shape == (height, width)
