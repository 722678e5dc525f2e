"""Writing bundles: whole or not at all."""

import json
import stat
import threading

import pytest

from charloom.bundle import Bundle, BundleWriter, to_json
from charloom.burst import INPUTS, StateSpec
from charloom.manifest import (
    FORMAT,
    MANIFEST,
    VOCABULARY,
    Architecture,
    BundleError,
    Graph,
    Manifest,
    Variant,
    graph_file,
    weights_file,
)
from charloom.vocabulary import CharacterVocabulary
from tests.charloom.vocabulary.byte_pairs import BYTE_PAIRS, BytePairVocabulary

WEIGHTS = weights_file("float32")
GRAPHS = {kind: graph_file("float32", kind) for kind in INPUTS}


def write(
    path,
    text="ab",
    *,
    overwrite=False,
    before_commit=lambda: None,
    name="tiny",
    states=([],),
    embedding=(),
    vocabulary=None,
):
    """Writes a small bundle, whose graphs are no graphs; a state for each precision."""
    vocabulary = vocabulary or CharacterVocabulary.of_text(text)
    with BundleWriter(path, overwrite=overwrite, vocabularies=BYTE_PAIRS) as writer:
        for file in (WEIGHTS, *GRAPHS.values()):
            writer.add(file, b"graph of " + text.encode())
        writer.add(VOCABULARY, to_json(vocabulary.to_json()))
        graphs = {kind: Graph(file, [], []) for kind, file in GRAPHS.items()}
        variants = [Variant(WEIGHTS, graphs, state, {}) for state in states]
        manifest = Manifest(
            format=FORMAT,
            name=name,
            version="1",
            architecture=Architecture("recurrent", 1, {"layers": 1}, 1, "RNN"),
            vocabulary_size=vocabulary.size,
            precisions=dict(zip(("float32", "int8"), variants, strict=False)),
            embedding=list(embedding),
            training={},
            files=writer.files,
            created_by="a test",
        )
        before_commit()
        return writer.commit(manifest)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_vocabulary_is_read_by_the_kinds_that_are_passed_in(tmp_path):
    bundle = write(tmp_path / "b", vocabulary=BytePairVocabulary())
    assert bundle.vocabulary == BytePairVocabulary()
    assert Bundle.open(tmp_path / "b", BYTE_PAIRS).vocabulary == bundle.vocabulary
    with pytest.raises(BundleError, match="unknown kind of vocabulary 'byte-pairs'"):
        Bundle.open(tmp_path / "b")


class Interrupted(BaseException):
    pass


def interrupt():
    raise Interrupted


def test_what_is_written_is_what_is_opened(tmp_path):
    bundle = write(tmp_path / "new" / "folders" / "b", "héllo")
    assert bundle.vocabulary == CharacterVocabulary.of_text("héllo")
    assert bundle.manifest == Bundle.open(tmp_path / "new" / "folders" / "b").manifest
    assert names(bundle.path) == sorted([MANIFEST, VOCABULARY, WEIGHTS, *GRAPHS.values()])
    assert names(bundle.path.parent) == ["b"]
    assert stat.S_IMODE(bundle.path.stat().st_mode) == 0o755  # a server of another user can read it


def test_an_interrupted_writer_leaves_nothing(tmp_path):
    with pytest.raises(Interrupted):
        write(tmp_path / "b", before_commit=interrupt)
    assert names(tmp_path) == []


def test_a_writer_that_never_commits_leaves_nothing(tmp_path):
    with BundleWriter(tmp_path / "b") as writer:
        writer.add("model.onnx", b"x")
        assert names(tmp_path) != []
    assert names(tmp_path) == []


def test_nothing_is_seen_before_the_commit(tmp_path):
    seen = []
    write(tmp_path / "b", before_commit=lambda: seen.append((tmp_path / "b").exists()))
    assert seen == [False]


def test_an_existing_bundle_is_kept(tmp_path):
    write(tmp_path / "b", "old")
    with pytest.raises(BundleError, match=r"already exists.*--overwrite") as caught:
        write(tmp_path / "b", "new")
    assert caught.value.path == tmp_path / "b"
    assert Bundle.open(tmp_path / "b").vocabulary == CharacterVocabulary.of_text("old")


@pytest.mark.parametrize("content", ["file", "empty folder", "folder"])
def test_nothing_else_is_written_over_either(tmp_path, content):
    make(tmp_path / "b", content)
    with pytest.raises(BundleError, match="already exists"):
        write(tmp_path / "b")
    assert names(tmp_path) == ["b"]


def test_overwriting_replaces_the_whole_bundle(tmp_path):
    write(tmp_path / "b", "old")
    (tmp_path / "b" / "stray").touch()
    bundle = write(tmp_path / "b", "new", overwrite=True)
    assert bundle.vocabulary == CharacterVocabulary.of_text("new")
    assert "stray" not in names(bundle.path)
    assert names(tmp_path) == ["b"]


def test_overwriting_where_nothing_is_just_writes(tmp_path):
    assert write(tmp_path / "b", overwrite=True).path.is_dir()


def test_overwriting_an_empty_folder_is_fine(tmp_path):
    make(tmp_path / "b", "empty folder")
    assert write(tmp_path / "b", overwrite=True).path.is_dir()


def test_a_folder_that_is_no_bundle_is_never_overwritten(tmp_path):
    make(tmp_path / "b", "folder")
    with pytest.raises(BundleError, match="is not a bundle"):
        write(tmp_path / "b", overwrite=True)
    assert (tmp_path / "b" / "precious").read_text() == "text"
    assert names(tmp_path) == ["b"]


def test_a_file_is_never_overwritten(tmp_path):
    make(tmp_path / "b", "file")
    with pytest.raises(BundleError, match="is not a bundle"):
        write(tmp_path / "b", overwrite=True)
    assert (tmp_path / "b").read_text() == "text"


def test_an_interrupted_overwriting_keeps_the_old_bundle(tmp_path):
    write(tmp_path / "b", "old")
    with pytest.raises(Interrupted):
        write(tmp_path / "b", "new", overwrite=True, before_commit=interrupt)
    assert Bundle.open(tmp_path / "b").vocabulary == CharacterVocabulary.of_text("old")
    assert names(tmp_path) == ["b"]


def test_a_manifest_that_no_one_could_open_is_not_put_in_place(tmp_path):
    write(tmp_path / "b", "old")
    with pytest.raises(BundleError, match="model name"):
        write(tmp_path / "b", "new", overwrite=True, name="no such name")
    assert Bundle.open(tmp_path / "b").vocabulary == CharacterVocabulary.of_text("old")


@pytest.mark.parametrize("name", [pytest.param("a" * 300, id="long"), "file/b"])
def test_a_place_that_cannot_be_written_is_named(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(BundleError) as caught:
        write(tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)


def test_an_unwritable_file_is_named_by_its_final_place(tmp_path):
    with pytest.raises(BundleError) as caught, BundleWriter(tmp_path / "b") as writer:
        writer.add("no/such/folder", b"x")
    assert caught.value.path == tmp_path / "b" / "no/such/folder"
    assert names(tmp_path) == []


def test_of_two_writers_one_wins_whole(tmp_path):
    """Both are past the check for an existing bundle before either puts its own in place."""
    both = threading.Barrier(2)
    failures = []

    def writer(text):
        try:
            write(tmp_path / "b", text, before_commit=both.wait)
        except BundleError as error:
            failures.append(error)

    threads = [threading.Thread(target=writer, args=(text,)) for text in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(failures) <= 1
    assert Bundle.open(tmp_path / "b").vocabulary.characters in (sorted("one"), sorted("two"))
    assert names(tmp_path) == ["b"]


def make(path, content):
    match content:
        case "file":
            path.write_text("text")
        case "empty folder":
            path.mkdir()
        case "folder":
            path.mkdir()
            (path / "precious").write_text("text")


STATES = [
    StateSpec("h", "float32", (4,)),
    StateSpec("q", "uint8", (4,), initial=128, scale=1 / 127, zero=128),
    StateSpec("latest", "int64", (40,), initial=7, limit=9),
    StateSpec("negative", "int8", (2, 3), initial=-1),
    StateSpec("flag", "bool", (), initial=1),
    StateSpec("half", "float16", (1,)),
]


def test_states_of_any_type_and_shape_come_back(tmp_path):
    bundle = write(tmp_path / "bundle", states=[STATES], embedding=["q", "h"])
    assert bundle.manifest.precisions["float32"].state == STATES
    assert bundle.manifest.embedding == ["q", "h"]


@pytest.mark.parametrize(
    "state",
    [
        StateSpec("h", "object", (4,)),
        StateSpec("h", "complex64", (4,)),
        StateSpec("h", "datetime64", (4,)),
        StateSpec("h", "bfloat16", (4,)),
        StateSpec("h", ">f4", (4,)),
        StateSpec("h", "", (4,)),
        StateSpec("h", "float32", (0,)),
        StateSpec("h", "float32", (-1,)),
        StateSpec("h", "float32", (2**20, 2**20)),
        StateSpec("h", "float32", (4,), initial=2),
        StateSpec("h", "float32", (4,), scale=0.1),
        StateSpec("h", "float32", (4,), limit=3),
        StateSpec("h", "uint8", (4,), initial=256),
        StateSpec("h", "uint8", (4,), initial=-1),
        StateSpec("h", "uint8", (4,), scale=0.1, zero=256),
        StateSpec("h", "uint8", (4,), scale=0.0),
        StateSpec("h", "uint8", (4,), scale=-0.1),
        StateSpec("h", "int64", (4,), initial=2**63),
        StateSpec("h", "int64", (4,), initial=9, limit=9),
        StateSpec("h", "int64", (4,), initial=-1, limit=9),
    ],
    ids=str,
)
def test_a_state_that_no_stream_can_have_is_refused(tmp_path, state):
    with pytest.raises(BundleError, match="has a state 'h' of an unusable"):
        write(tmp_path / "bundle", states=[[state]])
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize(
    ("states", "embedding", "message"),
    [
        ([[STATES[0], STATES[0]]], [], "two state tensors of one name"),
        ([[STATES[0]]], ["h", "c"], "an embedding of state tensors that it does not list"),
        ([[STATES[0]], [STATES[1]]], [], "another state in each precision"),
        ([[STATES[0]], [StateSpec("h", "uint8", (5,))]], [], "another state in each precision"),
        ([[STATES[0]], []], ["h"], "an embedding of state tensors that it does not list"),
    ],
)
def test_states_that_do_not_go_together_are_refused(tmp_path, states, embedding, message):
    with pytest.raises(BundleError, match=message):
        write(tmp_path / "bundle", states=states, embedding=embedding)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": ""},
        {"kind": "x" * 65},
        {"version": -1},
        {"config": {"layers": [2]}},
        {"config": {"layers": 2**53 + 1}},
        {"config": None},
        {"parameters": 2**31},
        {"cells": 3},
    ],
    ids=str,
)
def test_a_malformed_network_is_refused(tmp_path, change):
    path = write(tmp_path / "bundle").path / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["architecture"] |= change
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="malformed"):
        Bundle.open(path.parent)


def test_a_network_of_an_unknown_kind_opens(tmp_path):
    """Serving needs its graphs alone."""
    path = write(tmp_path / "bundle").path / MANIFEST
    manifest = json.loads(path.read_text())
    manifest["architecture"] |= {"kind": "tree", "version": 9, "config": {"leaves": 7, "wide": True}}
    path.write_text(json.dumps(manifest))
    assert Bundle.open(path.parent).manifest.architecture.config == {"leaves": 7, "wide": True}


def test_a_state_tensor_with_the_name_of_an_input_is_refused(tmp_path):
    with pytest.raises(BundleError, match="state tensor of an input's name: window"):
        write(tmp_path / "b", states=([StateSpec("window", "int64", (4,))],))
