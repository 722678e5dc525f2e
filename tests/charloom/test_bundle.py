"""Opening bundles: whole ones, and every way to damage one."""

import hashlib
import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from charloom.bundle import Bundle
from charloom.burst import INPUTS
from charloom.manifest import FORMAT, MANIFEST, VOCABULARY, BundleError, graph_file
from tests.conftest import PRECISIONS

PLAIN = graph_file("float32", "plain")
FULL = graph_file("float32", "full")
FILES = [MANIFEST, VOCABULARY, PLAIN, graph_file(PRECISIONS[-1], "read")]
"""Those that are damaged: a graph of any precision and kind is a file like another."""


@pytest.fixture
def copy(bundle_dir, tmp_path):
    return shutil.copytree(bundle_dir, tmp_path / "copy")


def refused(path, file, *words):
    """Opening must fail with an error that names the file."""
    with pytest.raises(BundleError) as caught:
        Bundle.open(path)
    assert caught.value.path == path / file
    assert str(path / file) in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def edit(path, change):
    """Changes the manifest of a bundle, as JSON."""
    manifest = json.loads((path / MANIFEST).read_text())
    change(manifest)
    (path / MANIFEST).write_text(json.dumps(manifest))


def replace_file(path, name, data):
    """Changes a file and its digest alike, as someone who means harm would."""
    (path / name).write_bytes(data)
    stated = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    edit(path, lambda m: m["files"].update({name: stated}))


def test_a_whole_bundle_opens(bundle_dir):
    bundle = Bundle.open(bundle_dir)
    manifest = (bundle_dir / MANIFEST).read_bytes()
    assert bundle.digest == "sha256:" + hashlib.sha256(manifest).hexdigest()
    assert bundle.name == "small"
    assert bundle.vocabulary.size == bundle.manifest.vocabulary_size
    assert Bundle.open(str(bundle_dir)).digest == bundle.digest
    assert tuple(bundle.manifest.precisions) == PRECISIONS
    for precision in PRECISIONS:
        for kind in INPUTS:
            file = bundle_dir / graph_file(precision, kind)
            assert bundle.graph(precision, kind) == file.read_bytes()


def test_a_graph_altered_after_opening_is_refused(copy):
    bundle = Bundle.open(copy)
    (copy / PLAIN).write_bytes(b"other")
    with pytest.raises(BundleError, match=PLAIN):
        bundle.graph("float32", "plain")


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file(copy, name):
    (copy / name).unlink()
    refused(copy, name, "does not exist")


@pytest.mark.parametrize("name", FILES)
def test_a_directory_in_place_of_a_file(copy, name):
    (copy / name).unlink()
    (copy / name).mkdir()
    refused(copy, name, "cannot be read")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("left", [0, 0.5, -1])
def test_a_truncated_file(copy, name, left):
    data = (copy / name).read_bytes()
    (copy / name).write_bytes(data[: int(len(data) * left) if left >= 0 else -1])
    refused(copy, name)


@pytest.mark.parametrize("name", FILES[1:])
def test_a_longer_file(copy, name):
    with (copy / name).open("ab") as file:
        file.write(b"\n")
    refused(copy, name, "bytes where the manifest says", "copy it again")


@pytest.mark.parametrize("name", FILES[1:])
@pytest.mark.parametrize("place", [0, 0.5, -1])
@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit(copy, name, place, bit):
    data = bytearray((copy / name).read_bytes())
    data[int(len(data) * place) if place >= 0 else -1] ^= 1 << bit
    (copy / name).write_bytes(data)
    refused(copy, name, "was altered")


def test_the_file_of_another_digest(copy):
    shutil.copy(copy / FULL, copy / PLAIN)
    refused(copy, PLAIN)


def test_exchanged_digests(copy):
    def exchange(manifest):
        files = manifest["files"]
        files[PLAIN], files[FULL] = files[FULL], files[PLAIN]

    edit(copy, exchange)
    with pytest.raises(BundleError, match=r"float32\.(plain|full)\.onnx"):
        Bundle.open(copy)


def test_an_empty_directory(tmp_path):
    refused(tmp_path, MANIFEST, "does not exist")


def test_no_directory(tmp_path):
    refused(tmp_path / "none", MANIFEST, "does not exist")


def test_a_file_in_place_of_the_directory(tmp_path):
    path = tmp_path / "file"
    path.write_text("{}")
    refused(path, MANIFEST, "cannot be read")


@pytest.mark.parametrize(
    ("raw", "word"),
    [
        (b"", "malformed"),
        (b"{", "malformed"),
        (b"not json", "malformed"),
        (b"[1]", "malformed"),
        (b'"\xff\xfe"', "malformed"),
        (b'{"format": 3, "name": "\xff"}', "malformed"),
        (b'{"format": 3}', "malformed"),
        (b"{}", "states no format"),
        (b'{"format": null}', "states no format"),
        (b'{"format": "1"}', "states no format"),
        (b'{"format": 1.5}', "states no format"),
        (b'{"format": 0}', "states no format"),
        (b'{"format": -1}', "states no format"),
        (b'{"format": true}', ""),
        (b'{"format": 1' + b"0" * 5000 + b"}", ""),
        pytest.param(b'{"format": 3, "x": ' + b"[" * 100_000, "malformed", id="nested"),
    ],
    ids=lambda value: repr(value[:30]),
)
def test_a_manifest_that_is_none(copy, raw, word):
    (copy / MANIFEST).write_bytes(raw)
    refused(copy, MANIFEST, word)


def test_a_newer_format_is_refused_whatever_else_it_holds(copy):
    (copy / MANIFEST).write_text(json.dumps({"format": FORMAT + 1, "graphs": 7}))
    refused(copy, MANIFEST, f"has format {FORMAT + 1}", "update")


def test_an_extra_key_of_the_manifest_does_no_harm(copy):
    edit(copy, lambda m: m.update(comment="written by hand"))
    assert Bundle.open(copy).vocabulary.size > 0


def test_an_extra_key_of_a_file_is_refused(copy):
    edit(copy, lambda m: m["files"][VOCABULARY].update(url="http://elsewhere"))
    refused(copy, MANIFEST, "malformed", "url")


def test_an_older_format_is_refused_with_the_way_out(copy):
    (copy / MANIFEST).write_text(json.dumps({"format": FORMAT - 1, "graphs": 7}))
    refused(copy, MANIFEST, f"has format {FORMAT - 1}", "export it again")


@pytest.mark.parametrize("key", ["name", "precisions", "files", "vocabulary_size"])
def test_a_missing_key(copy, key):
    edit(copy, lambda m: m.pop(key))
    refused(copy, MANIFEST, "malformed", key)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "a b", "-a", "ä", "a" * 64, "a\n"])
def test_an_unusable_model_name(copy, name):
    edit(copy, lambda m: m.update(name=name))
    refused(copy, MANIFEST, "model name")


@pytest.mark.parametrize("key", ["graphs", "state", "verification"])
def test_a_missing_key_of_a_precision(copy, key):
    edit(copy, lambda m: m["precisions"]["float32"].pop(key))
    refused(copy, MANIFEST, "malformed", key)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", INPUTS)
def test_a_missing_graph(copy, precision, kind):
    edit(copy, lambda m: m["precisions"][precision]["graphs"].pop(kind))
    refused(copy, MANIFEST, "must list the graphs")


def test_an_unknown_graph(copy):
    def add(manifest):
        graphs = manifest["precisions"]["float32"]["graphs"]
        graphs["third"] = graphs["plain"]

    edit(copy, add)
    refused(copy, MANIFEST, "malformed")


def test_no_precision(copy):
    edit(copy, lambda m: m.update(precisions={}))
    refused(copy, MANIFEST, "lists no precision")


def test_an_unknown_precision(copy):
    edit(copy, lambda m: m["precisions"].update(int4=m["precisions"]["float32"]))
    refused(copy, MANIFEST, "malformed", "int4")


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_bundle_of_one_precision_opens(copy, precision):
    edit(copy, lambda m: m.update(precisions={precision: m["precisions"][precision]}))
    assert list(Bundle.open(copy).manifest.precisions) == [precision]


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_is_needed_and_not_listed(copy, name):
    edit(copy, lambda m: m["files"].pop(name))
    refused(copy, MANIFEST, "does not list", name)


def test_a_graph_in_a_file_that_is_not_listed(copy):
    edit(copy, lambda m: m["precisions"]["float32"]["graphs"]["plain"].update(file="/etc/hostname"))
    refused(copy, MANIFEST, "does not list", "/etc/hostname")


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "..",
        ".",
        "",
        "sub/inside",
        "sub/../../outside",
        "/etc/hostname",
        ".hidden",
        "a\0b",
        "a\nb",
    ],
)
def test_a_name_that_leaves_the_directory(copy, name):
    outside = b"outside"
    (copy.parent / "outside").write_bytes(outside)
    (copy / "sub").mkdir()
    (copy / "sub" / "inside").write_bytes(outside)
    stated = {"sha256": hashlib.sha256(outside).hexdigest(), "bytes": len(outside)}
    edit(copy, lambda m: m["files"].update({name: stated}))
    refused(copy, MANIFEST, repr(name))


def test_a_symlink_that_leaves_the_directory(copy):
    (copy / VOCABULARY).rename(copy.parent / "outside")
    (copy / VOCABULARY).symlink_to(copy.parent / "outside")
    refused(copy, MANIFEST, repr(VOCABULARY))


def test_a_symlink_through_a_directory_beside_it(copy):
    """A sibling whose name begins like the bundle's lies outside all the same."""
    sibling = copy.with_name(copy.name + "-2")
    sibling.mkdir()
    (copy / VOCABULARY).rename(sibling / VOCABULARY)
    (copy / VOCABULARY).symlink_to(f"../{sibling.name}/{VOCABULARY}")
    refused(copy, MANIFEST, repr(VOCABULARY))


def test_symlinks_that_stay_inside_are_fine(copy, tmp_path):
    """Kubernetes mounts volumes so: each file links to one in a folder beside it."""
    files = [path.name for path in copy.iterdir()]
    (copy / "..data").mkdir()
    for name in files:
        (copy / name).rename(copy / "..data" / name)
        (copy / name).symlink_to(f"..data/{name}")
    assert Bundle.open(copy).graph("float32", "plain")
    (tmp_path / "link").symlink_to(copy)
    assert Bundle.open(tmp_path / "link").graph("float32", "plain")


def test_a_symlink_to_itself(copy):
    (copy / VOCABULARY).unlink()
    (copy / VOCABULARY).symlink_to(VOCABULARY)
    with pytest.raises(BundleError, match=VOCABULARY):
        Bundle.open(copy)


def test_a_vocabulary_of_another_size(copy):
    edit(copy, lambda m: m.update(vocabulary_size=m["vocabulary_size"] + 1))
    refused(copy, VOCABULARY, "size")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        b"{}",
        b'{"kind": "word", "characters": []}',
        b'{"kind": "character", "characters": ["\\ud800"]}',
        b'{"kind": "character", "characters": [1' + b"0" * 5000 + b"]}",
        pytest.param(b"[" * 100_000, id="nested"),
    ],
    ids=lambda data: repr(data[:30]),
)
def test_a_vocabulary_that_is_none(copy, data):
    replace_file(copy, VOCABULARY, data)
    refused(copy, VOCABULARY)


def test_a_state_whose_shape_holds_no_numbers(copy):
    edit(copy, lambda m: m["precisions"]["float32"]["state"][0].update(shape=["H"]))
    refused(copy, MANIFEST, "malformed")


fuzz = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=3) | st.dictionaries(st.text(), values, max_size=3),
    max_leaves=5,
)


@fuzz
@given(data=st.data())
def test_a_manifest_of_damaged_bytes_is_refused_or_read(copy, bundle_dir, data):
    raw = (bundle_dir / MANIFEST).read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    length = data.draw(st.integers(0, 20))
    (copy / MANIFEST).write_bytes(raw[:place] + data.draw(st.binary(max_size=20)) + raw[place + length :])
    assert opens_or_is_refused(copy)


@fuzz
@given(data=st.data())
def test_a_manifest_of_other_values_is_refused_or_read(copy, bundle_dir, data):
    manifest = json.loads((bundle_dir / MANIFEST).read_text())
    part = manifest
    while isinstance(part, dict) and part:
        key = data.draw(st.sampled_from(sorted(part)))
        if not isinstance(part[key], dict | list) or data.draw(st.booleans()):
            break
        if isinstance(part[key], list):
            break
        part = part[key]
    if part:
        part[key] = data.draw(json_values)
    (copy / MANIFEST).write_text(json.dumps(manifest))
    assert opens_or_is_refused(copy)


def opens_or_is_refused(path):
    """Any other exception than a BundleError that names a file fails the test."""
    try:
        Bundle.open(path)
    except BundleError as error:
        return str(path) in str(error)
    return True
