"""Scores of records: whole distributions, unknown characters, ranks."""

import asyncio
import math
from itertools import product
from typing import Any

import numpy as np
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.execution_class import Precision
from charloom.options import InvalidRequestError
from charloom.score import Score, unknown_logprob
from charloom.vocabulary import SpecialTokens
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.local import LocalModel
from serving.rpc.limits import MAX_BYTES
from serving.rpc.texts import together
from tests.conftest import PRECISIONS
from tests.serving.golden import FOLDER
from tests.serving.in_process import connected
from tests.serving.records import ENDING, record_bundle, record_model

UNKNOWN = "\u2603"


def local(
    special: SpecialTokens, characters: str, precision: Precision = "float32", **how: Any
) -> LocalModel:
    return LocalModel(
        record_bundle(special, characters, precisions=[precision], **how), RunnerConfig("cpu", precision, 1)
    )


@pytest.fixture(scope="module")
def records() -> LocalModel:
    made = LocalModel.__new__(LocalModel)
    made.model = record_model(ENDING)
    return made


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(
    ("characters", "unknown"), [("ab", False), ("a", True), ("abc", False), ("ab", True)]
)
def test_the_probabilities_of_all_records_come_to_one(
    precision: Precision, characters: str, unknown: bool
) -> None:
    """Of all that ended within N tokens, the empty one too, and of all of N tokens that did not end."""
    model = local(SpecialTokens(end=True, unknown=unknown), characters, precision)
    alphabet, most = characters + UNKNOWN * unknown, 4
    texts = ["".join(word) for length in range(most + 1) for word in product(alphabet, repeat=length)]
    assert len(set(texts)) == sum(len(alphabet) ** length for length in range(most + 1))
    total = ended = 0.0
    for text, score in zip(texts, model.score(texts), strict=True):
        *_, end = score.logprobs
        assert len(score.logprobs) == len(text) + 1
        assert score.unknown == text.count(UNKNOWN)
        ended += math.exp(score.logprob)
        total += math.exp(score.logprob)
        if len(text) == most:
            total += math.exp(score.logprob - end) * (1 - math.exp(end))
    assert total == pytest.approx(1, abs=1e-4)
    assert 0.05 < ended < 0.99999


def test_a_character_without_a_token_surprises_as_one_that_never_came(records: LocalModel) -> None:
    tokens = 50_000
    model = local(SpecialTokens(end=True), "abc", training={"text": {"tokens": {"train": tokens}}})
    estimate = -math.log(tokens + 4 + 1)
    with_them, without = model.score(["a☃bøø", "ab"])
    assert with_them.token_texts == ["a", "☃", "b", "ø", "ø", ""]
    assert with_them.token_ids == [0, 4, 1, 4, 4, 3]
    assert [with_them.logprobs[place] for place in (1, 3, 4)] == [estimate] * 3
    assert [with_them.logprobs[place] for place in (0, 2, 5)] == without.logprobs
    assert (with_them.unknown, without.unknown) == (3, 0)
    [skipped] = model.score(["a☃bøø"], skip_unknown=True)
    assert (skipped.logprobs, skipped.unknown) == (without.logprobs, 3)
    [only] = model.score(["☃☃"])
    assert (only.text, only.unknown, only.logprobs[:2]) == ("☃☃", 2, [estimate] * 2)
    [learnt] = records.score(["a☃"])
    assert (learnt.token_ids[1], learnt.unknown) == (records.model.bundle.vocabulary.unknown, 1)
    assert len(records.score(["a☃"], skip_unknown=True)[0].logprobs) == 2
    with pytest.raises(InvalidRequestError, match="prompt has characters"):
        model.score(["a"], "☃")


@pytest.mark.parametrize(
    "training", [{}, {"text": 1}, {"text": {"tokens": [1]}}, {"text": {"tokens": {"train": "x"}}}]
)
def test_a_bundle_that_does_not_say_how_long_its_text_was_counts_its_tokens_alone(training: Any) -> None:
    assert unknown_logprob(training, 9) == -math.log(10)


def test_ranks_are_places_among_all_tokens(records: LocalModel) -> None:
    texts = ["hotel☃", "", "(x)"]
    scores = records.score(texts, ranks=True)
    plain = records.score(texts)
    for score, other in zip(scores, plain, strict=True):
        assert score.logprobs == other.logprobs
        assert (other.ranks, other.worst_rank) == ([], 0)
        assert score.worst_rank == max(score.ranks)
    vocabulary = records.model.bundle.vocabulary
    for text, score in zip(texts, scores, strict=True):
        tokens = [*vocabulary.encode(text).tolist(), vocabulary.end]
        for place, token in enumerate(tokens):
            prefix = vocabulary.decode(tokens[:place]).replace("\ufffd", "☃")
            others = records.score([prefix + c for c in vocabulary.entries] + [prefix + "☃", prefix])
            logprobs = [one.logprobs[place] for one in others[:-1]]
            logprobs.insert(len(vocabulary.entries), others[-1].logprobs[place])
            above = int((np.array(logprobs) > logprobs[token]).sum())
            assert score.ranks[place] == above + 1


def test_an_unread_character_ranks_behind_all_tokens() -> None:
    model = local(SpecialTokens(end=True), "abc")
    [score] = model.score(["☃a"], ranks=True)
    assert score.ranks[0] == model.model.bundle.vocabulary.size + 1
    assert len(score.ranks) == 3


def test_a_bundle_without_ranks_says_so_and_is_served_all_the_same() -> None:
    golden = LocalModel(FOLDER / "lstm", RunnerConfig("cpu", "float32", 1))
    [score] = golden.score(["a ship"])
    assert len(score.logprobs) == len("a ship")
    with pytest.raises(InvalidRequestError, match="ranks are not in this bundle: export it again"):
        golden.score(["a ship"], ranks=True)


def test_parts_of_a_score_add_up() -> None:
    score = Score()
    score.extend(Score([1], [-1.0], ["a"], [3]))
    score.extend(Score([2], [-2.0], ["b"], [9], unknown=2))
    assert score == Score([1, 2], [-1.0, -2.0], ["a", "b"], [3, 9], 2)


def test_texts_together_get_one_message_a_burst(records: LocalModel) -> None:
    words = [("ta", "in", "hse", "")[i % 4] * (i % 7) for i in range(100)]

    async def ask() -> None:
        async with connected(records.model, SchedulerConfig(max_burst=4)) as (stub, servicer):
            single = [r async for r in stub.Score(pb.ScoreRequest(texts=words, ranks=True))]
            grouped = [r async for r in stub.Score(pb.ScoreRequest(texts=words, ranks=True, together=True))]
            bursts = servicer.metrics.registry.get_sample_value(
                "charloom_burst_rows_count", {"model": "records"}
            )
            assert bursts is not None
            assert len(grouped) <= bursts
            assert len(single) >= len(words)
            assert scores(single) == scores(part for r in grouped for part in r.parts)

    def scores(parts: Any) -> list[tuple[Any, ...]]:
        """Of each text: its tokens, log-probabilities, texts, ranks, and whether it is complete."""
        found: list[tuple[Any, ...]] = [([], [], [], [], []) for _ in words]
        for part in parts:
            columns = (part.token_ids, part.logprobs, part.token_texts, part.ranks, [part.last] * part.last)
            for whole, column in zip(found[part.index], columns, strict=True):
                whole += column
        assert all(last == [True] for *_, last in found)
        return found

    asyncio.run(asyncio.wait_for(ask(), 60))


def test_no_message_of_scores_is_larger_than_clients_take() -> None:
    parts = [pb.ScoreResponse(index=i, token_texts=["x" * (MAX_BYTES // 3)]) for i in range(7)]
    responses = list(together(parts))
    assert [[part.index for part in response.parts] for response in responses] == [
        [0, 1],
        [2, 3],
        [4, 5],
        [6],
    ]
