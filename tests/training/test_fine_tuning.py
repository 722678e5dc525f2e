"""A run that begins with a trained model keeps its tokens, and can be resumed, exported and swept over."""

import json

import pytest
from msgspec import structs

from charloom.evaluation_config import EvaluationConfig
from charloom.vocabulary import (
    NO_SPECIAL,
    CharacterBuilder,
    CharacterVocabulary,
    LabelColumn,
    SpecialTokens,
    digest,
)
from export.exporter import build_bundle
from tests.charloom.vocabulary.byte_pairs import BytePairBuilder, BytePairVocabulary
from training.checkpoint import load_checkpoint
from training.evaluate import evaluate
from training.fine_tuning import JoinedBuilder, TransferError, joined

RECORDS = SpecialTokens(end=True)
GENRE = SpecialTokens(end=True, labels=(LabelColumn("genre", ("folk", "jazz")),))


def built(model, text, origin, special=NO_SPECIAL, min_count=1):
    builder = JoinedBuilder(CharacterBuilder(min_count), model, origin)
    builder.put(text[:2])
    builder.put(text[2:])
    return builder.build(special)


@pytest.mark.parametrize(
    ("origin", "expected"), [("union", "cabxy"), ("old", "cab"), ("new", "abxy")], ids=str
)
def test_old_ids_stay_and_new_ones_follow(origin, expected):
    special = SpecialTokens(unknown=origin == "old")
    vocabulary = built(CharacterVocabulary("cab", special), "bayx", origin)
    assert vocabulary.characters == list(expected)
    assert vocabulary.ids.special == (special if origin != "new" else NO_SPECIAL)


@pytest.mark.parametrize("origin", ["union", "old", "new"])
def test_joined_to_the_text_again_a_vocabulary_stays_what_it_is(origin):
    model = SpecialTokens(end=True, labels=(LabelColumn("genre", ("pop", "folk")),))
    text = structs.replace(GENRE, unknown=True)
    once = built(CharacterVocabulary("cab", model), "bbayxyx", origin, text, min_count=2)
    assert built(once, "bbayxyx", origin, text, min_count=2) == once


def test_old_has_no_token_for_what_is_new():
    with pytest.raises(TransferError, match=r"'x', 'y'; --vocabulary union adds them, --min-count 2"):
        built(CharacterVocabulary("ab"), "abxy", "old")
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 2000)))
    with pytest.raises(TransferError, match=r" and 1,990 more; "):
        built(CharacterVocabulary("ab"), many, "old")
    known = built(CharacterVocabulary("ab"), "abxyx", "old", SpecialTokens(unknown=True), min_count=2)
    assert (known.characters, known.unknown) == (["a", "b"], 2)


@pytest.mark.parametrize("origin", ["union", "old"])
def test_special_tokens_are_those_of_both(origin):
    vocabulary = built(CharacterVocabulary("ab", SpecialTokens(unknown=True)), "ab", origin, GENRE)
    assert vocabulary.ids.special == structs.replace(GENRE, unknown=True)
    other = SpecialTokens(
        end=True, labels=(LabelColumn("year", ("1",)), LabelColumn("genre", ("folk", "pop")))
    )
    vocabulary = built(CharacterVocabulary("ab", GENRE), "ab", origin, other)
    assert vocabulary.ids.special.labels == (
        LabelColumn("year", ("1",)),
        LabelColumn("genre", ("folk", "jazz", "pop")),
    )


@pytest.mark.parametrize("origin", ["union", "old"])
def test_what_records_would_lose_is_refused_by_name(origin):
    with pytest.raises(TransferError, match=r"one of records.*--records"):
        built(CharacterVocabulary("ab", RECORDS), "ab", origin)
    with pytest.raises(TransferError, match=r"no label 'genre': .*--label-column"):
        built(CharacterVocabulary("ab", GENRE), "ab", origin, RECORDS)
    assert built(CharacterVocabulary("ab", GENRE), "ab", "new").ids.special == NO_SPECIAL


def test_tokens_that_cannot_be_joined_stay_those_of_the_model():
    model = BytePairVocabulary([b"xy", b"yz"])
    for origin in ("union", "old"):
        builder = JoinedBuilder(BytePairBuilder(), model, origin)
        builder.put("the loom")
        assert builder.build(RECORDS) == model.with_special(RECORDS)
    assert joined(model, BytePairVocabulary(), "new") == BytePairVocabulary()
    with pytest.raises(TransferError, match=r"kind byte-pairs, .* as character: .*--vocabulary new"):
        joined(model, CharacterVocabulary("ab"), "union")


@pytest.fixture
def other(text, tmp_path):
    path = tmp_path / "other.txt"
    path.write_text(text.read_text().replace("loom", "zoom 🧵"))
    return path


@pytest.fixture
def base(run_cli, text, small, tmp_path):
    assert run_cli("train", text, "--out", "one", *small(epochs=3))[0] == 0
    return tmp_path / "one"


def test_at_the_first_step_the_old_text_costs_what_it_did(run_cli, base, text, other, small, tmp_path):
    assert run_cli("train", other, "--out", "two", "--init-from", "one", *small(epochs=0.01))[0] == 0
    assert digest(load_checkpoint(tmp_path / "two").vocabulary) != digest(load_checkpoint(base).vocabulary)
    first = min(json.loads(line)["step"] for line in (tmp_path / "two" / "metrics.jsonl").open())
    assert first == 0
    (zero,) = (
        path.parent for path in (tmp_path / "two").glob("*/checkpoint.json") if "epoch0.00" in str(path)
    )
    config = EvaluationConfig(device="cpu", precision="float32")
    before, after = (evaluate(path, text, config).nats_per_token for path in (base, zero))
    assert after == pytest.approx(before, abs=0.01)
    assert build_bundle(tmp_path / "two").vocabulary.characters[-2:] == ["z", "🧵"]


def test_a_run_that_is_resumed_keeps_its_tokens(run_cli, base, other, small, tmp_path):
    begin = ("--init-from", "one", *small(epochs=2))
    assert run_cli("train", other, "--out", "whole", *begin)[0] == 0
    assert run_cli("train", other, "--out", "parts", *begin[: -len(small())], *small(epochs=1))[0] == 0
    for epochs in (1.5, 2):
        code, _ = run_cli("train", other, "--out", "parts", "--resume", "--epochs", epochs)
        assert code == 0
    whole, parts = (load_checkpoint(tmp_path / name / "last") for name in ("whole", "parts"))
    assert whole.vocabulary == parts.vocabulary
    assert whole.vocabulary.characters[-2:] == ["z", "🧵"]
    code, said = run_cli("train", other, "--out", "parts", "--resume", "--vocabulary", "new")
    assert (code, "vocabulary union, not new" in said) == (14, True)
    code, said = run_cli("train", base.parent / "verse.txt", "--out", "parts", "--resume")
    assert (code, "not the text that the run" in said) == (14, True)


def test_a_model_of_one_text_learns_records(run_cli, base, small, tmp_path):
    table = tmp_path / "songs.csv"
    table.write_text("text,kind\n" + "".join(f"the loom goes {i},{'xyz'[i % 3]}\n" for i in range(60)))
    columns = ("--text-column", "text", "--label-column", "kind")
    code, said = run_cli("train", table, "--out", "two", "--init-from", "one", *columns, *small())
    assert code == 0
    assert "1 added, 0 dropped; of labels 0 values kept, 3 added, 0 dropped" in said
    vocabulary = load_checkpoint(tmp_path / "two").vocabulary
    assert vocabulary.characters == load_checkpoint(base).vocabulary.characters
    assert vocabulary.ids.special.labels == (LabelColumn("kind", ("x", "y", "z")),)
    code, said = run_cli("train", base.parent / "verse.txt", "--out", "three", "--init-from", "two", *small())
    assert (code, "one of records" in said) == (12, True)


def test_old_says_what_it_lacks_and_rare_ones_become_unknown(run_cli, base, other, small, tmp_path):
    old = ("--init-from", "one", "--vocabulary", "old", *small())
    code, said = run_cli("train", other, "--out", "two", *old)
    assert (code, "'z', '🧵'; --vocabulary union" in said) == (12, True)
    assert run_cli("train", other, "--out", "two", *old, "--min-count", 2)[0] == 0
    before, after = (load_checkpoint(path).vocabulary for path in (base, tmp_path / "two"))
    assert after == before.with_special(SpecialTokens(unknown=True))
    assert (load_checkpoint(tmp_path / "two").held_out == after.unknown).any()


def test_a_run_of_old_tokens_does_not_go_on_with_a_text_that_has_others(run_cli, base, text, other, small):
    old = ("--init-from", "one", "--vocabulary", "old", *small())
    assert run_cli("train", text, "--out", "two", *old)[0] == 0
    code, said = run_cli("train", other, "--out", "two", "--resume")
    assert (code, "the text is not that of the run" in said) == (14, True), said


@pytest.mark.parametrize("kind", ["words", "smiles"])
def test_a_kind_of_tokens_is_kept_unless_another_is_named(run_cli, text, other, small, tmp_path, kind):
    assert run_cli("train", text, "--out", "one", "--tokens", kind, *small())[0] == 0
    assert run_cli("train", other, "--out", "two", "--init-from", "one", *small())[0] == 0
    before, after = (load_checkpoint(tmp_path / name).vocabulary for name in ("one", "two"))
    assert after.kind == before.kind
    assert after.entries[: len(before.entries)] == before.entries
    assert after.writes("🧵")
    assert not before.writes("🧵")
    named = ("--tokens", "characters", "--init-from", "one", *small())
    code, said = run_cli("train", other, "--out", "three", *named)
    assert (code, "they cannot be joined; --vocabulary new" in said) == (12, True), said


def test_trials_begin_with_the_same_tokens(run_cli, base, other, small, tmp_path):
    sweep = ("sweep", other, "--out", "swept", "--init-from", "one", "--vary", "dropout=0,0.1", *small())
    assert run_cli(*sweep, "--trials", 1)[0] == 0
    code, said = run_cli(*sweep, "--trials", 2)
    assert (code, "2 added, 0 dropped" in said) == (0, True)
    best = load_checkpoint(tmp_path / "swept").vocabulary
    assert best.characters[:-2] == load_checkpoint(base).vocabulary.characters
    code, said = run_cli(*sweep, "--trials", 2, "--vocabulary", "new")
    assert (code != 0, "has vocabulary union, not new" in said) == (True, True), said


def test_an_origin_of_tokens_needs_a_model_to_begin_with(run_cli, text, small):
    code, said = run_cli("train", text, "--out", "two", "--vocabulary", "old", *small())
    assert (code, "vocabulary is for --init-from" in said) == (2, True), said


def test_a_resumed_run_says_first_that_its_kind_of_tokens_differs(run_cli, text, small):
    assert run_cli("train", text, "--out", "two", "--tokens", "words", *small())[0] == 0
    code, said = run_cli("train", text, "--out", "two", "--resume", "--tokens", "bytes")
    assert (code, "has tokens words, not bytes: a resumed run keeps its options" in said) == (14, True), said


def test_another_pattern_is_refused(run_cli, text, other, small):
    regex = ("--tokens", "regex", "--token-pattern")
    assert run_cli("train", text, "--out", "two", *regex, r"\w+", *small())[0] == 0
    begin = ("--init-from", "two", *small())
    code, said = run_cli("train", other, "--out", "three", *regex, "[^ ]+", *begin)
    assert (code, "--vocabulary new trains" in said) == (12, True), said
