"""Each kind of token goes through training, a resumed run, export, int8, serving, and a resumed text."""

import asyncio
import base64
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.bundle import Bundle, BundleWriter
from charloom.client import Client
from charloom.client.retries import RetryConfig
from charloom.evaluation import measured
from charloom.evaluation_config import EvaluationConfig
from charloom.manifest import MANIFEST, encode_manifest
from charloom.records import RecordsConfig
from charloom.tokens_config import TokensConfig
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub
from charloom.vocabulary import Vocabulary, vocabulary_builder
from export.exporter import Exporter
from networks.recurrent.config import RecurrentConfig
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.local import LocalModel
from serving.model import Model
from tests.conftest import PRECISIONS, Finished
from tests.e2e.conftest import ServerProcess
from tests.serving.in_process import connected
from tests.serving.records import random_bundle
from training.checkpoint import load_checkpoint
from training.config import HardwareConfig, RunConfig
from training.data.config import BatchConfig, CorpusConfig
from training.data.corpus import Corpus
from training.data.read_corpus import read_corpus
from training.folder import RunFolder
from training.hardware import resolve
from training.options import Options
from training.reporting.config import PreviewConfig
from training.reporting.reporter import Reporter
from training.run import ResumeError, fresh, resumed

LINES = [
    "The cat didn't sit; it said: naïve café!",
    "CC(=O)N[C@@H](Br)c1ccccc1Cl [nH]%12",
    "“No,” said the 猫, at 3.5 p.m. (again) 👩‍🚀",
    "the end of the cat - and so on ...",
]
TEXT = "\n".join(LINES * 60) + "\n"
PROMPT = "The cat said: "
KINDS = {
    "words": TokensConfig("words", min_count=2),
    "lower-words": TokensConfig("lower-words", vocabulary_size=40),
    "smiles": TokensConfig("smiles"),
    "regex": TokensConfig("regex", token_pattern=r" ?[A-Za-z]+", vocabulary_size=60),
    "bpe": TokensConfig("bpe", vocabulary_size=300),
    "bytes": TokensConfig("bytes"),
    "records": TokensConfig("words"),
    "records-of-bytes": TokensConfig("bytes"),
    "records-of-lower-words": TokensConfig("lower-words"),
}
"""A continuous text of each kind, and records of some."""


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def run_folder(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped and resumed."""
    out = tmp_path_factory.mktemp("tokens")
    text = out / "text.txt"
    text.write_text(TEXT, encoding="utf-8")
    options = Options(
        model=RecurrentConfig("lstm", 1, 24, 8),
        tokens=KINDS[kind],
        records=RecordsConfig("lines") if kind.startswith("records") else RecordsConfig(),
        corpus=CorpusConfig(0.8, 0.2),
        batches=BatchConfig(batch=8, length=16),
        run=RunConfig(epochs=1, patience=0),
        hardware=HardwareConfig(device="cpu", precision="float32"),
        preview=PreviewConfig(preview_length=5),
    )
    hardware, folder = resolve(options.hardware), RunFolder(out / "run")

    def corpus(tokens: TokensConfig = options.tokens) -> Corpus:
        return read_corpus(text, options.corpus, out, vocabulary_builder(tokens), options.records)

    folder.open(overwrite=False)
    fresh(options, corpus(), hardware, folder, Reporter()).run()
    longer = replace(options, run=replace(options.run, epochs=2))
    other = corpus(TokensConfig("characters"))
    with pytest.raises(ResumeError, match="other tokens"):
        resumed(longer, other, hardware, folder, Reporter())
    trainer = resumed(longer, corpus(), hardware, folder, Reporter())
    assert trainer.epoch == 1
    trainer.run()
    best = load_checkpoint(folder.path)
    assert Options.from_json(best.options, best.networks).tokens == options.tokens
    return folder.path


@pytest.fixture(scope="module")
def bundle(run_folder: Path) -> Bundle:
    """What the exporter makes of it, verified in every precision."""
    path = run_folder.with_name("bundle")
    with BundleWriter(path) as writer:
        Exporter(load_checkpoint(run_folder), max_cost=1).export(writer, PRECISIONS, "tokens")
    return Bundle.open(path)


@pytest.fixture(scope="module", params=PRECISIONS)
def model(bundle: Bundle, request: pytest.FixtureRequest) -> Model:
    return Model.of(bundle, RunnerConfig("cpu", request.param), largest_batch=16)


def normal(vocabulary: Vocabulary, text: str) -> str:
    """The text as the vocabulary has it."""
    return vocabulary.decode(vocabulary.encode(text))


def test_it_generates_and_scores_in_process(model: Model) -> None:
    local = LocalModel.__new__(LocalModel)
    local.model = model
    texts = local.generate(PROMPT, n=3, max_tokens=30, seed=1)
    assert texts == local.generate(PROMPT, n=3, max_tokens=30, seed=1)
    vocabulary = model.bundle.vocabulary
    lines = [line for line in LINES if vocabulary.kind != "smiles"]
    for line, score in zip(lines, local.score(lines), strict=True):
        assert score.text == normal(vocabulary, line)
        assert score.nats > 0
        assert score.unknown == sum(len(piece) for _, piece in vocabulary.unknown_pieces(line))
    assert len(local.embed(lines)[0]) > 0


def test_it_is_measured_in_nats_a_token_and_bits_a_character(bundle: Bundle, run_folder: Path) -> None:
    about = bundle.manifest.training["text"]
    of = measured(run_folder.parent / "text.txt", EvaluationConfig(), bundle.vocabulary, about)
    newlines = 0 if bundle.vocabulary.end is None else TEXT.count("\n")
    assert of.characters == len(TEXT) - newlines
    assert of.skipped == 0
    assert (
        sum(about[part] for part in ("train", "validation", "test")) == about["characters"] == of.characters
    )
    summary = bundle.manifest.training
    nats, bits = summary["validation_loss"], summary["validation_bits_per_character"]
    ratio = about["tokens"]["validation"] / about["validation"]
    assert bits == pytest.approx(nats * ratio / 0.6931471805599453)


async def text_of(stub: CharloomServiceStub, **fields: object) -> tuple[str, list[int], bytes]:
    """A text, its tokens, and the last state that came with it."""
    request = pb.GenerateRequest(token_ids=True, return_state=True, ignore_end=True, **fields)  # type: ignore[arg-type]
    parts = [part async for part in stub.Generate(request)]
    ids = [token for part in parts for token in part.token_ids]
    return "".join(part.text for part in parts), ids, parts[-1].state.token


OPTIONS = {"seed": 3, "temperature": [1.3]}
SCHEDULING = SchedulerConfig(max_streams=8, max_burst=3)


def test_a_text_goes_on_at_another_server_to_the_byte(model: Model) -> None:
    async def talk() -> None:
        async with (
            asyncio.timeout(120),
            connected(model, SCHEDULING) as (first, _),
            connected(model, SCHEDULING) as (second, _),
        ):
            whole, _, _ = await text_of(first, prompt=PROMPT, max_tokens=30, **OPTIONS)
            assert whole
            for count in (1, 2, 9, 29):
                begun, _, state = await text_of(first, prompt=PROMPT, max_tokens=count, **OPTIONS)
                rest, _, _ = await text_of(second, state=state, max_tokens=30 - count, **OPTIONS)
                assert begun + rest == whole

    asyncio.run(talk())


def test_a_stop_string_cuts_the_text_in_a_token_and_the_state_is_after_it(model: Model) -> None:
    async def talk() -> None:
        async with asyncio.timeout(120), connected(model, SCHEDULING) as (stub, _):
            whole, ids, _ = await text_of(stub, prompt=PROMPT, max_tokens=24, **OPTIONS)
            for stop in sorted(set(whole) - {"\ufffd"})[::3]:
                begun, before, state = await text_of(
                    stub, prompt=PROMPT, max_tokens=24, stop=[stop], **OPTIONS
                )
                assert begun == whole[: whole.index(stop)]
                assert before == ids[: len(before)]
                _, after, _ = await text_of(stub, state=state, max_tokens=24 - len(before), **OPTIONS)
                assert before + after == ids

    asyncio.run(talk())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["words", "lower-words", "smiles", "bpe", "bytes"])
def test_commands_and_real_servers_take_each_kind(
    kind: str, tmp_path: Path, in_process: Callable[..., Finished], serve: Callable[..., ServerProcess]
) -> None:
    """A text survives the death of its server, to the byte; every command reads and writes such tokens."""
    text, run, bundle = tmp_path / "text.txt", tmp_path / "run", tmp_path / "bundle"
    text.write_text(TEXT, encoding="utf-8")
    small = ("--cells", 24, "--embedding", 8, "--batch", 8, "--length", 16, "--precision", "float32")
    size = ("--vocabulary-size", 300) if kind in ("words", "bpe") else ()

    def charloom(*words: object) -> str:
        finished = in_process(*words)
        assert finished.returncode == 0, finished.stderr
        return finished.stdout

    charloom("train", text, "--out", run, "--tokens", kind, *size, "--epochs", 1, *small)
    charloom("train", text, "--out", run, "--resume", "--epochs", 2)
    other = "lower-words" if kind == "words" else "words"
    refused = in_process("train", text, "--out", run, "--resume", "--tokens", other)
    assert refused.returncode == 14
    charloom("export", run, "--out", bundle, "--precision", *PRECISIONS)
    keys = tmp_path / "keys"
    keys.write_text(f"a:{base64.b64encode(bytes(range(32))).decode()}\n")
    options = ("--state-keys", str(keys), "--precision", "float32")
    first, second = (serve(*options, bundle=bundle) for _ in range(2))
    asked = ("--prompt", PROMPT, "--seed", 4, "--max-tokens", 40)
    local = charloom("generate", "--bundle", bundle, "--precision", "float32", *asked)
    assert charloom("generate", "--address", first.address, *asked) == local
    lines = tmp_path / "lines.txt"
    lines.write_text("\n".join(LINES[:1] + LINES[3:]), encoding="utf-8")
    for where in (("--bundle", bundle, "--precision", "float32"), ("--address", second.address)):
        scored = charloom("score", *where, "--lines", "--json", lines)
        assert scored.count("\n") == 2
        assert charloom("similar", *where, "the cat said", lines).count("\n") == 2
    assert "bits/character" in charloom("evaluate", bundle, text, "--part", "validation")
    with Client([first.address, second.address], retries=RetryConfig(idle_timeout=3)) as client:
        whole = client.generate(PROMPT, seed=5, max_tokens=3000).text()
        generation = client.generate(PROMPT, seed=5, max_tokens=3000)
        begun = next(iter(generation))
        first.kill()
        assert begun + "".join(generation) == whole
        with client.converse() as talk:
            talk.feed(PROMPT)
            said = "".join(talk.generate(max_tokens=5, seed=1))
            assert talk.rewind(tokens=5).endswith(said.strip())
            assert talk.suggest(3)


def test_without_the_library_of_byte_pairs_commands_name_the_extra(
    tmp_path: Path, in_process: Callable[..., Finished], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = random_bundle(vocabulary_builder(TokensConfig("bpe")).build())
    bundle, text = tmp_path / "bundle", tmp_path / "text.txt"
    bundle.mkdir()
    for name in stored.manifest.files:
        (bundle / name).write_bytes(stored.files.read(name))
    (bundle / MANIFEST).write_bytes(encode_manifest(stored.manifest))
    text.write_text(TEXT, encoding="utf-8")
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for words in (
        ("train", text, "--out", tmp_path / "run", "--tokens", "bpe"),
        ("generate", "--bundle", bundle),
        ("serve", bundle, "--port", "0"),
    ):
        finished = in_process(*words)
        assert finished.returncode == 1
        assert "tokens of byte pairs need the package tokenizers: pip install '.[bpe]'" in finished.stderr
