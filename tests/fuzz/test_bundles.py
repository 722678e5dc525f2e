"""Bundles that were damaged, or made to do harm: refused in words, in bounded time and memory.

What a graph computes is out of reach here: onnxruntime parses it, and a bundle whose digests agree is
trusted not to be written against onnxruntime.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
from hypothesis import strategies as st

from charloom.bundle import Bundle
from charloom.errors import CharloomError
from charloom.manifest import MANIFEST, VOCABULARY
from serving.engine.config import RunnerConfig
from serving.local import LocalModel
from serving.rpc.convert import to_model
from tests.conftest import PRECISIONS
from tests.fuzz.conftest import BUNDLE, Rounds

FILES = sorted(path.name for path in BUNDLE.iterdir())
HUGE = 2**40
"""Bytes of a file with nothing in it, which takes no room on a disk."""
Damage = Callable[[Path], None]


@pytest.fixture
def folder() -> Iterator[Path]:
    with TemporaryDirectory() as place:
        yield Path(place)


def use(path: Path, precision: Literal["float32", "int8"] = "float32") -> None:
    """Does all that is done with a bundle."""
    local = LocalModel(path, RunnerConfig("cpu", precision, threads=1))
    to_model(local.model)
    local.generate(max_tokens=3, seed=1)
    local.score(["a"])


def state_again(path: Path, name: str) -> None:
    """Has the manifest say what a file is now."""
    data = (path / name).read_bytes()
    manifest = json.loads((path / MANIFEST).read_bytes())
    manifest["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (path / MANIFEST).write_text(json.dumps(manifest))


NUMBERS = st.sampled_from([-1, 0, 1, 2**31, 2**32, 2**63, 2**64, 10**400, 1e308, float("inf"), float("nan")])
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | NUMBERS
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.just("x" * 10**6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


PLACES: list[tuple[str | int, ...]] = [
    (),
    ("architecture",),
    ("training",),
    ("files", VOCABULARY),
    ("precisions",),
    ("precisions", "float32"),
    *(("precisions", precision, "state", 0) for precision in PRECISIONS),
    ("precisions", "float32", "graphs", "full"),
]
"""Where there is much to break."""


@st.composite
def other_values(draw: Any, name: str) -> Damage:
    """Another value, somewhere in a file of JSON."""
    whole = json.loads((BUNDLE / name).read_bytes())
    if name == MANIFEST:
        whole["training"] = {"validation_loss": 1.0}
    parent: Any = whole
    for step in draw(st.sampled_from(PLACES if name == MANIFEST else [()])):
        parent = parent[step]
    key = draw(st.sampled_from(sorted(parent)))
    while isinstance(parent[key], dict | list) and parent[key] and draw(st.booleans()):
        parent = parent[key]
        key = draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
    value = draw(VALUES | st.just("deep"))
    if draw(st.integers(0, 5)) == 0:
        del parent[key]
    else:
        parent[key] = value
    depth = draw(st.sampled_from([1, 1000, 100_000]))
    written = json.dumps(whole).replace('"deep"', "[" * depth + "]" * depth)

    def write(path: Path) -> None:
        (path / name).write_text(written)
        if name != MANIFEST:
            state_again(path, name)

    return write


@st.composite
def other_bytes(draw: Any) -> Damage:
    """Other bytes somewhere in a file, which may be stated or not."""
    name = draw(st.sampled_from(FILES))
    data = (BUNDLE / name).read_bytes()
    place, length = draw(st.integers(0, len(data))), draw(st.integers(0, 20))
    damaged = data[:place] + draw(st.binary(max_size=20) | st.just(b"[" * 100_000)) + data[place + length :]
    changed = draw(st.sampled_from([damaged, data[:place], data + b"\0" * length]) | st.binary(max_size=50))
    stated = draw(st.booleans()) and name in (VOCABULARY,)

    def write(path: Path) -> None:
        (path / name).write_bytes(changed)
        if stated:
            state_again(path, name)

    return write


def turn_into(what: str, name: str) -> Damage:
    """Something else in the place of a file."""

    def write(path: Path) -> None:
        file = path / name
        file.unlink()
        match what:
            case "folder":
                file.mkdir()
            case "pipe":
                os.mkfifo(file)
            case "huge":
                with file.open("wb") as sparse:
                    sparse.truncate(HUGE)
            case "huge and stated":
                with file.open("wb") as sparse:
                    sparse.truncate(HUGE)
                manifest = json.loads((BUNDLE / MANIFEST).read_bytes())
                if name in manifest["files"]:
                    manifest["files"][name]["bytes"] = HUGE
                    (path / MANIFEST).write_text(json.dumps(manifest))
            case target:
                file.symlink_to(target)

    return write


WHATS = [
    "folder",
    "pipe",
    "huge",
    "huge and stated",
    "/dev/zero",
    "/dev/null",
    ".",
    "..",
    "nowhere",
    "/etc/passwd",
]
DAMAGES = (
    other_values(MANIFEST)
    | other_values(VOCABULARY)
    | other_bytes()
    | st.builds(turn_into, st.sampled_from([*WHATS, *FILES]), st.sampled_from(FILES))
)


def test_damaged_bundles(rounds: Rounds) -> None:
    def check(damage: Damage) -> None:
        with TemporaryDirectory() as place:
            path = Path(shutil.copytree(BUNDLE, Path(place) / "bundle"))
            damage(path)
            for precision in PRECISIONS:
                with suppress(CharloomError):
                    use(path, precision)

    rounds.run(DAMAGES, check)


@pytest.mark.parametrize("what", WHATS)
@pytest.mark.parametrize("name", [MANIFEST, VOCABULARY, "float32.full.onnx"])
def test_what_stands_in_the_place_of_a_file_is_not_read(folder: Path, what: str, name: str) -> None:
    path = Path(shutil.copytree(BUNDLE, folder / "bundle"))
    turn_into(what, name)(path)
    with pytest.raises(CharloomError, match=str(path)):
        Bundle.open(path)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("training", "validation_loss"), "low"),
        (("training", "validation_loss"), None),
        (("architecture", "layers"), -1),
        (("architecture", "parameters"), 2**63),
        (("vocabulary_size",), 2**40),
        (("precisions", "float32", "state", 0, "shape"), [2**40]),
        (("precisions", "float32", "state", 0, "shape"), [-1]),
        (("precisions", "float32", "state", 0, "shape"), [2**20, 2**20]),
        (("precisions", "float32", "state", 0, "dtype"), "object"),
        (("precisions", "float32", "state", 0, "dtype"), "nothing"),
        (("precisions", "float32", "state", 0, "initial"), 2**70),
        (("precisions", "float32", "state", 0, "initial"), -1),
        (("precisions", "int8", "state", 0, "initial"), 256),
    ],
    ids=str,
)
def test_a_manifest_of_numbers_that_cannot_be_is_refused(
    folder: Path, place: tuple[str | int, ...], value: Any
) -> None:
    """They were let in, and failed as requests came, or as the machine ran out of memory."""
    path = Path(shutil.copytree(BUNDLE, folder / "bundle"))
    manifest = json.loads((path / MANIFEST).read_bytes())
    part: Any = manifest
    for step in place[:-1]:
        part = part[step]
    part[place[-1]] = value
    (path / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(CharloomError, match=str(path / MANIFEST)):
        Bundle.open(path)
