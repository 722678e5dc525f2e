"""The lanes of an evaluation: every token counts once, and what is read before a lane."""

import numpy as np
import pytest

from charloom.evaluation_lanes import CHUNK, MAX_LANES, PIECE, PRIME, UNCOUNTED, EvaluationLanes

START = 99


def text_of(length: int) -> np.ndarray:
    return (np.arange(length) % 90).astype(np.uint8)


def whole(lanes: EvaluationLanes) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and targets of all chunks, each [T, B]."""
    inputs, targets = zip(*lanes.chunks(), strict=True)
    assert all(len(part) == CHUNK for part in inputs[:-1])
    return np.concatenate(inputs), np.concatenate(targets)


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
    prime = lanes.prime()
    assert prime.shape == (PRIME, 2)
    for lane in (0, 1):
        read = [*prime[:, lane], *inputs[:, lane + 1]]
        assert read[: PRIME + 300] == list(range(read[0], read[0] + PRIME + 300))
    assert inputs[0].tolist() == [1000, 333, 667]
    assert EvaluationLanes(text, 1000, 1).prime().shape == (PRIME, 0)


def test_a_short_lane_is_primed_with_what_there_is() -> None:
    lanes = EvaluationLanes(np.arange(6), 6, 3)
    assert lanes.prime().tolist() == [[6, 1], [0, 2]]
