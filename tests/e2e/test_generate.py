"""`charloom generate` as a user of a shell meets it."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from charloom.client import Client
from serving.local import LocalModel
from tests.conftest import PRECISIONS, Finished

Serve = Callable[..., Any]
Run = Callable[..., Finished]


@pytest.fixture
def generate(in_process: Run) -> Run:
    """Runs `charloom generate`."""
    return partial(in_process, "generate")


def process(*arguments: object, **options: Any) -> "subprocess.CompletedProcess[bytes]":
    """Runs it in a process of its own."""
    command = [sys.executable, "-m", "charloom", "generate", *map(str, arguments)]
    return subprocess.run(command, check=False, timeout=120, **({"capture_output": True} | options))


@pytest.fixture
def from_bundle(bundle_dir: Path) -> tuple[object, ...]:
    """Options that make a short text."""
    return ("--bundle", bundle_dir, "--max-tokens", 30, "--seed", 1)


def test_standard_output_gets_the_text_alone(from_bundle: tuple[object, ...]) -> None:
    result = process(*from_bundle)
    assert result.returncode == 0
    assert len(result.stdout.decode()) == 30
    assert result.stderr == b""


def test_a_training_generates_what_its_bundle_does(
    generate: Run, run_dir: Path, from_bundle: tuple[object, ...]
) -> None:
    """In each precision, by its best checkpoint or by the run; nothing is exported."""
    before = sorted(run_dir.rglob("*"))
    for precision, checkpoint in zip(PRECISIONS, (run_dir, run_dir / "best"), strict=False):
        expected = generate(*from_bundle, "--precision", precision).stdout
        options = ("--max-tokens", 30, "--seed", 1, "--precision", precision)
        result = generate("--checkpoint", checkpoint, *options)
        assert (result.returncode, result.stdout, result.stderr) == (0, expected, "")
    assert sorted(run_dir.rglob("*")) == before


def test_one_source_of_a_model_is_needed(generate: Run, run_dir: Path, bundle_dir: Path) -> None:
    for options in ((), ("--checkpoint", run_dir, "--bundle", bundle_dir)):
        result = generate(*options, "--seed", 1)
        assert result.returncode == 2
        assert "--address, --bundle and --checkpoint exclude each other, and one is needed" in result.stderr
    nowhere = generate("--checkpoint", run_dir / "nowhere", "--seed", 1)
    assert nowhere.returncode == 9
    assert "no checkpoint at" in nowhere.stderr


def test_several_texts_can_be_told_apart(
    generate: Run, serve_all: Serve, from_bundle: tuple[object, ...], local: LocalModel, bundle_dir: Path
) -> None:
    several = (*from_bundle[2:], "-n", 3, "--prompt", "The ")
    texts = local.generate("The ", n=3, max_tokens=30, seed=1)
    for source in (("--bundle", bundle_dir), ("--address", serve_all().address)):
        lines = generate(*source, *several, "--json").stdout.splitlines()
        assert [json.loads(line) for line in lines] == [
            {"index": i, "seed": 1 + i, "text": text, "finish": "length", "tokens": 30}
            for i, text in enumerate(texts)
        ]
        said = generate(*source, *several, "--separator", "<end>").stdout
        assert said == "".join(f"{text}<end>" for text in texts)
        stop = texts[0][9:12]
        ended = json.loads(
            generate(*source, *several[:4], "--prompt", "The ", "--stop", stop, "--json").stdout
        )
        assert (ended["finish"], ended["text"]) == ("stop", texts[0][: texts[0].index(stop)])


def test_a_stop_that_never_ends_a_text_is_said(
    generate: Run, serve_all: Serve, from_bundle: tuple[object, ...], bundle_dir: Path
) -> None:
    for source in (("--bundle", bundle_dir), ("--address", serve_all().address)):
        result = generate(*source, *from_bundle[2:], "--stop", "a☃☃✗", "--stop", "zzz")
        assert result.returncode == 0
        assert result.stderr == (
            "charloom: the stop 'a☃☃✗' never ends a text: the model's vocabulary lacks '☃', '✗'\n"
        )


def test_a_prompt_may_come_from_a_file_or_a_pipe(
    generate: Run, from_bundle: tuple[object, ...], tmp_path: Path
) -> None:
    expected = generate(*from_bundle, "--prompt", "If a\nclass\n").stdout
    (tmp_path / "prompt.txt").write_bytes(b"If a\r\nclass\n")
    assert generate(*from_bundle, "--prompt-file", tmp_path / "prompt.txt").stdout == expected
    assert generate(*from_bundle, "--prompt", "-", stdin="If a\nclass\n").stdout == expected
    assert generate(*from_bundle, "--prompt", "-").stdout == generate(*from_bundle).stdout
    both = generate(*from_bundle, "--prompt", "a", "--prompt-file", tmp_path / "prompt.txt")
    assert (both.returncode, "--prompt-file excludes --prompt" in both.stderr) == (2, True)
    nowhere = generate(*from_bundle, "--prompt-file", tmp_path / "nowhere.txt")
    assert (nowhere.returncode, "nowhere.txt" in nowhere.stderr) == (3, True)


def test_an_output_file_appears_whole(generate: Run, from_bundle: tuple[object, ...], tmp_path: Path) -> None:
    target, link = tmp_path / "real.txt", tmp_path / "link.txt"
    target.write_text("before")
    link.symlink_to(target)
    assert generate(*from_bundle, "--output", link).returncode == 0
    assert link.is_symlink()
    assert target.read_bytes().decode() == generate(*from_bundle).stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.txt", "real.txt"]


@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_a_signal_leaves_nothing_half_written(
    number: signal.Signals, said: str, bundle_dir: Path, tmp_path: Path
) -> None:
    command = [sys.executable, "-m", "charloom", "generate", "--bundle", str(bundle_dir)]
    process = subprocess.Popen(
        [*command, "--max-tokens", "1000000000", "--output", tmp_path / "out.txt"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 60
    while not any(path.stat().st_size for path in tmp_path.iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert error.decode().endswith(f"charloom: error: {said}\n")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_is_written_to_and_stays_a_pipe(
    generate: Run, from_bundle: tuple[object, ...], tmp_path: Path
) -> None:
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes().decode()))
    reader.start()
    assert generate(*from_bundle, "--output", pipe).returncode == 0
    reader.join(10)
    assert got == [generate(*from_bundle).stdout]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("place", ["nowhere/out.txt", "."])
def test_says_where_it_cannot_write(
    generate: Run, from_bundle: tuple[object, ...], tmp_path: Path, place: str
) -> None:
    result = generate(*from_bundle, "--output", tmp_path / place)
    assert result.returncode == 1
    assert "cannot write" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_is_an_error(from_bundle: tuple[object, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        result = process(*from_bundle, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert result.returncode == 1
    assert b"No space left" in result.stderr
    assert b"Traceback" not in result.stderr
    assert b"Exception ignored" not in result.stderr


def test_a_reader_may_leave(bundle_dir: Path) -> None:
    command = [sys.executable, "-m", "charloom", "generate", "--bundle", bundle_dir, "--max-tokens", "90000"]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(10)
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == 141
    assert b"Traceback" not in said


@pytest.mark.parametrize("source", ["server", "bundle"])
def test_refuses_the_same_options_from_either_source(generate: Run, source: str, bundle_dir: Path) -> None:
    where = ("--address", "127.0.0.1:1") if source == "server" else ("--bundle", bundle_dir)
    for option, message in (
        (("--seed", "-1"), "seed must be 0 to"),
        (("--seed", 2**64), "seed must be 0 to"),
        (("--temperature", "nan"), "temperature must be"),
        (("-n", 0), "n must be at least 1"),
    ):
        result = generate(*where, *option)
        assert result.returncode == 2
        assert message in result.stderr


def test_lists_and_tokens_are_read_from_every_source(
    generate: Run, local: LocalModel, bundle_dir: Path, tmp_path: Path
) -> None:
    space = local.model.bundle.vocabulary.find(" ")
    [expected] = local.generate(
        seed=1,
        max_tokens=40,
        temperature=(0.5, 2),
        logit_bias={"e": 3, "=": 2, " ": -9},
        forbidden_tokens=("1", "t"),
        stop_tokens=("\n", "b"),
    )
    common = ("--bundle", bundle_dir, "--seed", 1, "--max-tokens", 40)
    line = ("--temperature", 0.5, 2, "--logit-bias", "e=3", "==2", f"id:{space}=-9")
    options = (*line, "--forbidden-tokens", "1", "--forbidden-tokens", "t", "--stop-tokens", "\n", "b")
    assert generate(*common, *options).stdout == expected
    (tmp_path / "charloom.toml").write_text(
        "[generate]\ntemperature = [0.5, 2]\n"
        f'logit-bias = ["e=3", "==2", "id:{space}=-9"]\n'
        'forbidden-tokens = ["1", "t"]\nstop-tokens = ["\\n", "b"]\n'
    )
    assert generate(*common, cwd=tmp_path).stdout == expected
    variables = {
        "CHARLOOM_GENERATE_TEMPERATURE": "0.5 2",
        "CHARLOOM_GENERATE_LOGIT_BIAS": f"e=3 ==2 id:{space}=-9",
        "CHARLOOM_GENERATE_FORBIDDEN_TOKENS": "1 t",
    }
    result = generate(*common, "--stop-tokens", "\n", "b", **variables)
    assert result.stdout == expected


def test_more_texts_than_a_small_server_has_room_for(generate: Run, serve: Serve, bundle_dir: Path) -> None:
    server = serve("--max-streams", "2", "--max-waiting", "1")
    options = ("-n", 12, "--max-tokens", 40, "--seed", 5, "--prompt", "The ", "--min-p", 0.05)
    result = generate("--address", server.address, *options)
    assert result.returncode == 0, result.stderr
    assert result.stdout == generate("--bundle", bundle_dir, *options).stdout


@pytest.mark.skipif(not socket.has_ipv6, reason="this machine has no IPv6")
def test_serves_on_ipv6(bundle_dir: Path, serve: Serve) -> None:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            pytest.skip("this machine has no IPv6 loopback")
    server = serve("--host", "::1")
    with Client(server.address) as client:
        assert len(client.generate("a", max_tokens=20).text()) == 20


def test_of_several_servers_one_will_do(
    generate: Run, serve_all: Serve, from_bundle: tuple[object, ...]
) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        gone = f"127.0.0.1:{nobody.getsockname()[1]}"
        options = ("--address", gone, "--address", serve_all().address, "--max-tokens", 30, "--seed", 1)
        result = generate(*options)
    assert result.returncode == 0, result.stderr
    assert result.stdout == generate(*from_bundle).stdout
