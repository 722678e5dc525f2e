"""The text with which graphs are verified: pieces of a continuous one, or records from their beginning on."""

import numpy as np
import pytest

from charloom.chunk import UNCOUNTED
from charloom.vocabulary import CharacterVocabulary, LabelColumn, SpecialTokens, Tokens
from export.held_out import LANES, LONGEST, SHORTEST, HeldOutText

ABC = CharacterVocabulary("abc")
RECORDS = CharacterVocabulary("abc", SpecialTokens(end=True, labels=(LabelColumn("kind", ("x", "y")),)))


def ids(*records: tuple[str, str]) -> Tokens:
    """Records with a label each, as a checkpoint keeps them."""
    each = [
        np.array([*RECORDS.ids.label_ids([label]), *RECORDS.encode(text), RECORDS.end])
        for label, text in records
    ]
    return np.concatenate(each)


@pytest.mark.parametrize(("text", "tokens"), [("cab", [2, 0, 1]), ("", [0, 1, 2])])
def test_it_is_that_of_the_checkpoint_else_every_token_once(text: str, tokens: list[int]) -> None:
    found = HeldOutText.of(ABC.encode(text), ABC)
    assert found.tokens.tolist() == tokens
    [chunk] = found.chunks
    assert chunk.targets.shape == (SHORTEST, LANES)
    assert chunk.targets.T.ravel().tolist() == np.resize(tokens, SHORTEST * LANES).tolist()
    assert (chunk.inputs[0] == ABC.start).all()
    assert (chunk.inputs[1:] == chunk.targets[:-1]).all()
    assert found.tokens_per_character == 1


def test_records_are_scored_from_their_labels_to_their_end() -> None:
    found = HeldOutText.of(ids(("x", "ab"), ("y", "c")), RECORDS)
    assert RECORDS.end is not None
    assert found.tokens.tolist() == [0, 1, RECORDS.end, 2, RECORDS.end], "no label may be chosen"
    assert found.tokens_per_character == pytest.approx(5 / 3), "the end has no text"
    [chunk] = found.chunks
    x, y = (RECORDS.ids.label_ids([value])[0] for value in "xy")
    assert chunk.inputs.T.tolist() == [[x, RECORDS.start, 0, 1], [y, RECORDS.start, 2, RECORDS.start]]
    assert chunk.targets.T.tolist() == [
        [UNCOUNTED, 0, 1, RECORDS.end],
        [UNCOUNTED, 2, RECORDS.end, UNCOUNTED],
    ]


def test_of_long_records_their_beginnings_are_scored_and_of_many_enough() -> None:
    long = [("x", "abc" * 300)] * 3
    found = HeldOutText.of(ids(*long), RECORDS)
    [chunk] = found.chunks
    assert chunk.carried == 0
    assert (chunk.inputs[0] == RECORDS.ids.label_ids(["x"])[0]).all()
    assert len(chunk.inputs) <= LONGEST
    many = HeldOutText.of(ids(*[("y", "abc")] * 20_000), RECORDS)
    places = sum(chunk.inputs.size for chunk in many.chunks)
    assert LANES * LONGEST <= places < 1.2 * LANES * LONGEST


def test_without_a_record_of_validation_every_token_is_scored_once() -> None:
    found = HeldOutText.of(np.zeros(0, np.int64), RECORDS)
    assert found.tokens.tolist() == list(range(RECORDS.size))
