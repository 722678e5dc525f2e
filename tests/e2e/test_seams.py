"""A network and a vocabulary that live in tests alone go through training, export and serving.

The network's state is the last token ids; a token of the vocabulary is a string of bytes, which may cut a
character. Registries are passed in; nothing of Charloom is changed.
"""

import asyncio
import pydoc_data.topics
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import charloom.v1.charloom_pb2 as pb
from charloom.bundle import Bundle, BundleWriter
from charloom.manifest import BundleError
from charloom.v1.charloom_pb2_grpc import CharloomServiceStub
from export.exporter import Exporter
from serving.engine.config import RunnerConfig, SchedulerConfig
from serving.local import LocalModel
from serving.model import Model
from tests.charloom.vocabulary.byte_pairs import BYTE_PAIRS, BytePairBuilder, BytePairVocabulary
from tests.conftest import ALPHABETS, PRECISIONS
from tests.export.window import WINDOW_BUILDERS
from tests.networks.window import WINDOWS, WindowConfig
from tests.serving.in_process import connected
from training.checkpoint import CheckpointError, load_checkpoint
from training.config import HardwareConfig, RunConfig
from training.data.config import BatchConfig
from training.data.read_corpus import read_corpus
from training.folder import RunFolder
from training.hardware import resolve
from training.options import Options
from training.reporting.config import PreviewConfig
from training.reporting.reporter import Reporter
from training.run import fresh, resumed

SCHEDULING = SchedulerConfig(max_streams=8, max_burst=3)
PROMPT = "naïve 色は 🎉 the "


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was resumed."""
    out = tmp_path_factory.mktemp("seams")
    text = out / "text.txt"
    text.write_text(ALPHABETS * 20 + pydoc_data.topics.topics["assert"] * 4, encoding="utf-8")
    options = Options(
        model=WindowConfig(window=7, width=12),
        batches=BatchConfig(batch=8, length=16),
        run=RunConfig(epochs=1, patience=0),
        hardware=HardwareConfig(device="cpu", precision="float32"),
        preview=PreviewConfig(preview_length=0),
    )
    corpus = read_corpus(text, options.corpus, builder=BytePairBuilder())
    folder, hardware = RunFolder(out / "run"), resolve(options.hardware)
    folder.open(overwrite=False)
    fresh(options, corpus, hardware, folder, Reporter(), networks=WINDOWS, vocabularies=BYTE_PAIRS).run()
    longer = replace(options, run=replace(options.run, epochs=3))
    trainer = resumed(longer, corpus, hardware, folder, Reporter(), networks=WINDOWS, vocabularies=BYTE_PAIRS)
    assert trainer.epoch == 1
    trainer.run()
    return folder.path


@pytest.fixture(scope="module")
def bundle_path(run_folder: Path) -> Path:
    """What the exporter makes of it, verified in every precision."""
    source = load_checkpoint(run_folder, WINDOWS, BYTE_PAIRS)
    path = run_folder.with_name("windowed")
    with BundleWriter(path, vocabularies=BYTE_PAIRS) as writer:
        Exporter(source, max_cost=1, builders=WINDOW_BUILDERS).export(writer, PRECISIONS, "windowed")
    return path


@pytest.fixture(params=PRECISIONS)
def model(bundle_path: Path, request: pytest.FixtureRequest) -> Model:
    bundle = Bundle.open(bundle_path, BYTE_PAIRS)
    return Model.of(bundle, RunnerConfig("cpu", request.param), largest_batch=16)


def test_it_is_read_by_nobody_without_its_registries(run_folder: Path, bundle_path: Path) -> None:
    with pytest.raises(CheckpointError, match="window"):
        load_checkpoint(run_folder, vocabularies=BYTE_PAIRS)
    with pytest.raises(CheckpointError, match="byte-pairs"):
        load_checkpoint(run_folder, WINDOWS)
    with pytest.raises(BundleError, match="byte-pairs"):
        Bundle.open(bundle_path)


def test_the_bundle_says_what_it_is(bundle_path: Path) -> None:
    bundle = Bundle.open(bundle_path, BYTE_PAIRS)
    assert bundle.vocabulary == BytePairVocabulary()
    architecture = bundle.manifest.architecture
    assert (architecture.kind, architecture.config) == ("window", {"window": 7, "width": 12})
    for precision in PRECISIONS:
        variant = bundle.manifest.precisions[precision]
        [window] = variant.state
        assert (window.dtype, window.shape, window.limit) == ("int64", (7,), bundle.vocabulary.inputs)
        assert variant.verification["equal_to_the_bit"]
        bits = variant.verification["bits_per_character"]
        assert 0 < bits != pytest.approx(variant.verification["nats_per_token"], rel=1e-3)


def test_it_generates_in_process(model: Model) -> None:
    local = LocalModel(model.bundle, RunnerConfig("cpu", model.executor.precision))
    texts = local.generate(PROMPT, n=3, max_tokens=60, seed=1)
    assert len(set(texts)) == 3
    assert texts == local.generate(PROMPT, n=3, max_tokens=60, seed=1)
    [score] = local.score([PROMPT])
    assert score.text == PROMPT


async def generate(stub: CharloomServiceStub, **fields: object) -> tuple[str, list[bytes]]:
    """A text and the states that came with it."""
    parts = [part async for part in stub.Generate(pb.GenerateRequest(**fields))]  # type: ignore[arg-type]
    return "".join(part.text for part in parts), [part.state.token for part in parts if part.state.token]


def test_a_text_goes_on_at_another_server(model: Model) -> None:
    """In the middle of a character or not: from the state after any of its tokens."""
    options = {"seed": 3, "temperature": [1.3], "return_state": True}

    async def talk() -> None:
        async with (
            asyncio.timeout(120),
            connected(model, SCHEDULING) as (first, _),
            connected(model, SCHEDULING) as (second, _),
        ):
            whole, _ = await generate(first, prompt=PROMPT, max_tokens=40, **options)
            for count in range(1, 40, 3):
                begun, [state] = await generate(first, prompt=PROMPT, max_tokens=count, **options)
                rest, _ = await generate(second, state=state, max_tokens=40 - count, **options)
                assert begun + rest == whole

    asyncio.run(talk())


def test_an_interrupted_text_is_resumed_at_another_server(model: Model) -> None:
    request = pb.GenerateRequest(prompt=PROMPT, seed=4, max_tokens=60, state_interval=1, token_ids=True)
    vocabulary = BytePairVocabulary()
    prompt = len(vocabulary.encode(PROMPT))

    async def talk() -> None:
        async with (
            asyncio.timeout(120),
            connected(model, SCHEDULING) as (first, _),
            connected(model, SCHEDULING) as (second, _),
        ):
            whole, tokens, states = "", list[int](), list[pb.State]()
            async for part in first.Generate(request):
                whole += part.text
                tokens += part.token_ids
                states += [part.state] if part.state.token else []
            assert states
            for state in states:  # one may stand before the text that came with it
                before = "".join(vocabulary.decoder().put(np.array(tokens[: state.position - prompt])))
                rest, _ = await generate(second, resume=True, state=state.token)
                assert before + rest == whole

    asyncio.run(talk())


def test_a_conversation_steps_back_over_characters_and_tokens(model: Model) -> None:
    async def talk() -> None:
        async with asyncio.timeout(60), connected(model, SCHEDULING) as (stub, _):
            call = stub.Converse()

            async def do(**command: object) -> pb.ConverseResponse:
                await call.write(pb.ConverseRequest(**command))  # type: ignore[arg-type]
                event = await call.read()
                assert isinstance(event, pb.ConverseResponse)
                assert not event.HasField("failed"), event.failed
                return event

            await do(open=pb.Open())
            await do(feed=pb.Feed(text="the é🚀"))
            assert (await do(rewind=pb.Rewind(characters=2))).rewound.text == "é🚀"
            fed = await do(feed=pb.Feed(text="你 "))
            assert fed.position == len(BytePairVocabulary().encode("the ")) + 2
            assert (await do(rewind=pb.Rewind(characters=1))).rewound.text == " "
            await call.done_writing()

    asyncio.run(talk())
