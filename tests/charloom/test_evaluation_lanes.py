"""The lanes of an evaluation: every token counts once, and what is read before a lane."""

import numpy as np
import pytest

from charloom.chunk import UNCOUNTED, TokenChunk
from charloom.evaluation_lanes import CHUNK, MAX_LANES, PIECE, PRIME, EvaluationLanes

START = 99


def text_of(length: int) -> np.ndarray:
    return (np.arange(length) % 90).astype(np.uint8)


def chunks_of(lanes: EvaluationLanes) -> tuple[TokenChunk | None, list[TokenChunk]]:
    """The chunk that primes all lanes but the first, if there are others, and the chunks that count."""
    primes, *chunks = lanes.chunks() if lanes.count > 1 else (None, *lanes.chunks())
    if primes is not None:
        assert primes.inputs.shape == primes.targets.shape == (min(PRIME, lanes.time), lanes.count - 1)
        assert (primes.targets == UNCOUNTED).all()
        assert (primes.carried, primes.answers) == (0, 0)
    return primes, chunks


def whole(lanes: EvaluationLanes) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of all chunks that count, each [T, B], the first lane first."""
    _, chunks = chunks_of(lanes)
    assert all(len(chunk.inputs) == CHUNK for chunk in chunks[:-1])
    # The first lane, alone, begins in a fresh state; all carry theirs on from chunk to chunk.
    assert [chunk.carried for chunk in chunks] == [lanes.count - 1] + [lanes.count] * (len(chunks) - 1)
    assert [chunk.answers for chunk in chunks] == [(c.targets != UNCOUNTED).sum() for c in chunks]
    assert sum(chunk.answers for chunk in chunks) == lanes.answers == len(lanes.text)
    inputs, targets = ([getattr(c, part) for c in chunks] for part in ("inputs", "targets"))
    return np.roll(np.concatenate(inputs), 1, 1), np.roll(np.concatenate(targets), 1, 1)


@pytest.mark.parametrize(("length", "count"), [(1, 1), (1, 8), (5, 4), (1000, 3), (1000, 1), (70_001, 0)])
def test_every_token_counts_once_after_the_one_before_it(length: int, count: int) -> None:
    text = text_of(length)
    lanes = EvaluationLanes(text, START, count)
    inputs, targets = whole(lanes)
    assert inputs.shape == targets.shape == (lanes.time, lanes.count)
    counted = targets.T.ravel() != UNCOUNTED
    assert targets.T.ravel()[counted].tolist() == text.tolist()
    assert inputs.T.ravel()[counted].tolist() == [START, *text[:-1]]
    assert counted[: len(text)].all(), "what does not count is at the end"
    assert set(inputs.ravel()) <= {START, *text}


@pytest.mark.parametrize(
    ("length", "count"), [(1, 1), (2 * PIECE - 1, 1), (2 * PIECE, 2), (1000 * PIECE, MAX_LANES)]
)
def test_a_text_has_as_many_lanes_as_suit_it(length: int, count: int) -> None:
    assert EvaluationLanes(text_of(length), START).count == count


def test_lanes_are_primed_with_the_text_before_them() -> None:
    text = np.arange(1000).astype(np.int32)
    lanes = EvaluationLanes(text, 1000, 3)
    inputs, _ = whole(lanes)
    prime, _ = chunks_of(lanes)
    assert prime is not None
    assert prime.inputs.shape == (PRIME, 2)
    for lane in (0, 1):
        read = [*prime.inputs[:, lane], *inputs[:, lane + 1]]
        assert read[: PRIME + 300] == list(range(read[0], read[0] + PRIME + 300))
    assert inputs[0].tolist() == [1000, 333, 667]
    (only, *_), (_, *others) = (list(EvaluationLanes(text, 1000, n).chunks()) for n in (1, 3))
    assert (only.inputs.shape, only.carried) == ((CHUNK, 1), 0), "one lane is primed with nothing"
    assert others[0].carried == 2


def test_a_short_lane_is_primed_with_what_there_is() -> None:
    lanes = EvaluationLanes(np.arange(6), 6, 3)
    prime, _ = chunks_of(lanes)
    assert prime is not None
    assert prime.inputs.tolist() == [[6, 1], [0, 2]]


@pytest.mark.parametrize("places", [1, 5, 6, 100])
def test_chunks_have_no_more_places_than_are_asked_for(places: int) -> None:
    lanes = EvaluationLanes(text_of(1000), START, 3)
    _, *chunks = lanes.chunks(places)
    assert max(chunk.inputs.size for chunk in chunks) <= max(3, places)
    assert np.concatenate([c.targets for c in chunks]).shape == (lanes.time, 3)
