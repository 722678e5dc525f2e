"""`charloom score` and `charloom similar`, from a server and from a bundle alike."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from charloom.client import Client
from serving.local import LocalModel
from tests.conftest import Finished

Serve = Callable[..., Any]
LINES = ["The statement is executed.", "zqqzqqzqqzz", "é色は", "", "a class instance", "If an object"]
"""Of characters that the model knows; the second is strange."""


Run = Callable[..., Finished]


@pytest.fixture
def run(in_process: Run) -> Run:
    return in_process


@pytest.fixture
def on_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Runs `charloom` with a terminal as its standard output; gives its lines."""

    def lines(*arguments: object, **options: Any) -> list[str]:
        with monkeypatch.context() as patch:
            patch.setattr(sys.stdout, "isatty", lambda: True)
            return run(*arguments, **options).stdout.splitlines()

    return lines


@pytest.fixture
def refusal(run: Run) -> Callable[..., str]:
    """Runs `charloom`, which must refuse; gives its words."""

    def refused(*arguments: object, code: int = 2, **options: Any) -> str:
        result = run(*arguments, **options)
        assert result.returncode == code, result.stderr
        assert "Traceback" not in result.stderr
        return result.stderr

    return refused


FIGURES = ("nats", "nats/token", "bits/char", "perplexity", "unknown")


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    (tmp_path / "lines.txt").write_text("\n".join(LINES), encoding="utf-8")
    return tmp_path / "lines.txt"


def test_a_bundle_gives_the_bits_of_a_server(serve_all: Serve, local: LocalModel, text_file: Path) -> None:
    text = text_file.read_text("utf-8")
    texts = [text[start : start + length] for length in (1, 7, 300, 2000) for start in (0, 20_000)]
    with Client(serve_all().address) as client:
        for prompt in ("", "The "):
            assert local.score(texts, prompt) == client.score(texts, prompt=prompt)
        assert local.embed(texts) == client.embed(texts)
        assert local.score(["a☃b"], skip_unknown=True) == client.score(["a☃b"], skip_unknown=True)
        assert local.embed(["a☃b"], skip_unknown=True) == local.embed(["ab"])
        assert [score.text for score in client.score(texts)] == texts
    assert local.score([]) == []
    assert local.embed([]) == []


def test_scores_are_the_same_from_either_source(
    run: Run, serve: Serve, bundle_dir: Path, lines: Path
) -> None:
    server = serve("--max-texts", "2", "--max-streams", "1", "--max-waiting", "1")
    for options in ((), ("--sort", "--tokens"), ("--json", "--tokens", "--prompt", "The ")):
        local = run("score", "--bundle", bundle_dir, "--lines", *options, lines)
        assert local.returncode == 0, local.stderr
        assert local.stdout == run("score", "--address", server.address, "--lines", *options, lines).stdout


def test_a_table_and_json_say_the_same(
    run: Run, on_terminal: Callable[..., list[str]], local: LocalModel, bundle_dir: Path, lines: Path
) -> None:
    given = "\n".join(LINES)
    command = ("score", "--bundle", bundle_dir, "--lines")
    objects = [
        json.loads(line) for line in run(*command, "--json", "--tokens", stdin=given).stdout.splitlines()
    ]
    assert [found["text"] for found in objects] == [line for line in LINES if line]
    assert [found["line"] for found in objects] == [1, 2, 3, 5, 6]
    scores = local.score([line for line in LINES if line])
    for found, score in zip(objects, scores, strict=True):
        assert found["nats"] == score.nats == -sum(logprob for _, logprob in found["logprobs"])
        assert "".join(token for token, _ in found["logprobs"]) == found["text"]
        assert found["perplexity"] == score.perplexity
    strangest = max(objects, key=lambda found: found["nats_per_token"])
    header, *rows = run(*command, "--sort", lines).stdout.splitlines()
    assert header.split("\t") == [*FIGURES, "file", "line", "text"]
    averages = [float(row.split("\t")[1]) for row in rows]
    assert averages == sorted(averages, reverse=True)
    assert rows[0].split("\t")[5:] == [str(lines), str(strangest["line"]), strangest["text"]]
    header, *rows = on_terminal(*command, "--sort", lines)
    assert header.split() == [*FIGURES, "text"]
    assert rows[0].endswith(strangest["text"])


def test_no_line_is_refused_for_its_characters_and_the_unknown_ones_surprise(
    run: Run, serve: Serve, bundle_dir: Path
) -> None:
    server = serve()
    given = "The class\n\u2603\u2603\nThe \u2603lass\nThe class"
    for source in (("--bundle", bundle_dir), ("--address", server.address)):
        header, *rows = run("score", *source, "--lines", "--ranks", stdin=given).stdout.splitlines()
        figures = [dict(zip(header.split("\t"), row.split("\t"), strict=True)) for row in rows]
        assert [found["unknown"] for found in figures] == ["0", "2", "1", "0"]
        nats = [float(found["nats"]) for found in figures]
        assert nats[1] > 2 * 9  # of some 50,000 characters of training text
        assert nats[2] > nats[0] == nats[3]
        assert [int(found["rank"]) > 90 for found in figures] == [False, True, True, False]
        command = ("score", *source, "--lines", "--skip-unknown", "--json", "--tokens")
        skipped = [json.loads(line) for line in run(*command, stdin=given).stdout.splitlines()]
        assert [found["unknown"] for found in skipped] == [0, 2, 1, 0]
        assert [found["tokens"] for found in skipped] == [9, 0, 8, 9]
        assert skipped[1]["nats_per_token"] is None
        *_, last = run(
            "score", *source, "--lines", "--sort", "--skip-unknown", stdin=given
        ).stdout.splitlines()
        assert last.endswith("\u2603\u2603")


def test_lines_are_whole_in_a_file_and_cut_on_a_terminal(
    run: Run, on_terminal: Callable[..., list[str]], bundle_dir: Path, tmp_path: Path
) -> None:
    long = "class " * 20
    (tmp_path / "long.txt").write_text(f"\n{long}\n")
    for command in ("score", "similar"):
        words = (
            command,
            "--bundle",
            bundle_dir,
            *(("a",) if command == "similar" else ("--lines",)),
            "long.txt",
        )
        assert run(*words, cwd=tmp_path).stdout.splitlines()[-1].split("\t")[-3:] == ["long.txt", "2", long]
        assert "\t" not in "".join(on_terminal(*words, cwd=tmp_path))
    assert on_terminal("score", "--bundle", bundle_dir, "--lines", tmp_path / "long.txt")[-1].endswith("…")


def test_whole_files_are_texts_and_tokens_are_readable(run: Run, bundle_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text("a\nb", encoding="utf-8")
    (tmp_path / "two.txt").write_text("If", encoding="utf-8")
    result = run("score", "--bundle", bundle_dir, "--tokens", "one.txt", "two.txt", cwd=tmp_path)
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[-1] for row in rows] == ["text", "", "'a'", "'\\n'", "'b'", "", "'I'", "'f'"]
    assert [row[5] for row in rows if len(row) > 5] == ["file", "one.txt", "two.txt"]


def test_a_file_may_have_any_name(run: Run, bundle_dir: Path, tmp_path: Path) -> None:
    raw = "caf\udce9.txt"  # as the byte 0xe9 of a name arrives
    (tmp_path / raw).write_text("The class\n", encoding="utf-8")
    command = ("--bundle", bundle_dir, "--json")
    scored = run("score", *command, raw, cwd=tmp_path).stdout
    similar = run("similar", *command, "If", raw, cwd=tmp_path).stdout
    assert {json.loads(said)["file"] for said in (scored, similar)} == {"caf\\udce9.txt"}


def test_a_text_that_cannot_be_scored_is_named(
    run: Run, refusal: Callable[..., str], serve: Serve, bundle_dir: Path, lines: Path
) -> None:
    server = serve("--max-prompt", "50")
    for source in (("--bundle", bundle_dir), ("--address", server.address)):
        said = refusal("score", *source, "--prompt", "☃", stdin="ab")
        assert "prompt has characters outside the model's vocabulary: '☃' (U+2603)" in said
        assert "no text in standard input" in refusal("score", *source, stdin="", code=4)
        assert "nothing has no vector" in refusal("similar", "a", *source, "--skip-unknown", stdin="☃")
        assert "the text has characters outside" in refusal("similar", "☃", *source, stdin="a")
        assert "UTF-8" in refusal("score", *source, "--lines", stdin="ab\udcff", code=6)
        skipped = run("score", *source, "--skip-unknown", "--tokens", stdin="a☃b").stdout
        assert [line.split()[-1] for line in skipped.splitlines()[2:]] == ["'a'", "'b'"]
    said = refusal("score", "--address", server.address, "--lines", stdin="a" * 51 + "\nb")
    assert "standard input, line 1 must have at most 50 characters together here, not 51" in said
    assert run("score", "--address", server.address, "--lines", stdin="ab\n" * 60).returncode == 0


def test_the_most_similar_come_first_from_either_source(
    run: Run, serve: Serve, local: LocalModel, bundle_dir: Path, lines: Path
) -> None:
    server = serve("--max-texts", "2")
    by_bundle = run("similar", "--bundle", bundle_dir, "The statement is executed.", lines, "-n", 3)
    assert by_bundle.returncode == 0, by_bundle.stderr
    rows = by_bundle.stdout.splitlines()
    assert len(rows) == 3
    assert rows[0] == f"1.000000\t{lines}\t1\tThe statement is executed."
    assert [row.split()[0] for row in rows] == sorted((row.split()[0] for row in rows), reverse=True)
    query = ("The statement is executed.", lines, "-n", 3)
    assert run("similar", *query, "--address", server.address).stdout == by_bundle.stdout
    found = [
        json.loads(line)
        for line in run("similar", "--bundle", bundle_dir, "--json", *query).stdout.splitlines()
    ]
    assert found[0]["line"] == 1
    vectors = np.array(local.embed([one["text"] for one in found]))
    assert [one["similarity"] for one in found] == pytest.approx(vectors @ vectors[0])


def test_more_texts_than_a_call_may_bring(run: Run, serve_all: Serve, lines: Path) -> None:
    server = serve_all()
    result = run("score", "--address", server.address, "--lines", "--json", stdin="a b c\n" * 300)
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["line"] for row in rows] == list(range(1, 301))
    assert len({row["nats"] for row in rows}) == 1
    result = run("similar", "abc", "--address", server.address, "-n", 1000, stdin="abc\n" * 300)
    assert result.stdout == "".join(f"1.000000\tstandard input\t{i}\tabc\n" for i in range(1, 301))


def test_an_argument_that_is_not_utf8_is_refused_without_a_traceback(
    refusal: Callable[..., str], bundle_dir: Path, lines: Path
) -> None:
    raw = "\udcff"  # as the shell's byte 0xff arrives
    for source in (("--bundle", bundle_dir), ("--address", "127.0.0.1:1")):
        refusal("similar", raw, lines, *source)
        refusal("score", *source, "--prompt", raw, lines)
        refusal("generate", *source, "--prompt", raw, "--seed", 1)
