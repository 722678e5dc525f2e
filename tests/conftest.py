"""What all tests share: a small text, a model trained on it, its bundle, and foreign tools."""

import gc
import os
import pydoc_data.topics
import shutil
import signal
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import BytesIO, StringIO, TextIOWrapper
from ipaddress import ip_address
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from filelock import FileLock
from hypothesis import settings

from benchmarks.bundles import precisions
from charloom.cli import main
from charloom.processor import available_cores

# Machines are slow at times; no test is about that.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

ROOT = Path(__file__).parents[1]
PRECISIONS = precisions()
"""What this processor can run."""
needs_int8 = pytest.mark.skipif("int8" not in PRECISIONS, reason="this processor has no VNNI")
ALPHABETS = "Съешь же ещё этих мягких французских булок. 色は匂へど散りぬるを。 naïve café 👩‍🚀🎉\n"


def pytest_xdist_auto_num_workers() -> int:
    """Runs two processes of tests more than there are cores, since many tests wait for a server."""
    return available_cores() + 2


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Spares later garbage collections what is imported and collected, torch most of all: it stays anyway."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


Build = Callable[[Path], object]
"""Fills an empty folder."""


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Build], Path]:
    """Makes a folder once for all of pytest-xdist's workers: the first to ask fills it, the others wait.

    The folder is theirs together, so no test may change it.
    """
    base = tmp_path_factory.getbasetemp()
    own = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    shared = Path(os.environ.get("CHARLOOM_TEST_SHARED", own))  # which `make mutants` has for all its runs

    def make(name: str, build: Build) -> Path:
        folder, unfinished = shared / name, shared / f"{name}.unfinished"
        with FileLock(shared / f"{name}.lock"):
            if not folder.exists():
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir()
                build(unfinished)
                unfinished.rename(folder)
        return folder

    return make


@pytest.fixture(scope="session")
def text_file(once: Callable[[str, Build], Path]) -> Path:
    """Real English, with other alphabets and emoji in it, of 60,000 characters."""

    def write(folder: Path) -> None:
        topics = pydoc_data.topics.topics
        english = "\n".join(topics[name] for name in sorted(topics))
        (folder / "text.txt").write_text((ALPHABETS * 20 + english)[:60_000], encoding="utf-8")

    return once("text", write) / "text.txt"


@pytest.fixture(scope="session")
def run_dir(text_file: Path, once: Callable[[str, Build], Path]) -> Path:
    """A run of `charloom train`: a small LSTM that has learnt a little."""
    options = ("--cells", 48, "--embedding", 16, "--epochs", 3, "--batch", 16, "--length", 32)

    def train(folder: Path) -> None:
        charloom("train", text_file, "--out", folder / "run", *options, "--precision", "float32")

    return once("trained", train) / "run"


RECORD_COLUMNS = ("--text-column", "text", "--label-column", "kind")


@pytest.fixture(scope="session")
def record_file(once: Callable[[str, Build], Path]) -> Path:
    """A table of short texts of two kinds; one character of each kind is rare."""

    def write(folder: Path) -> None:
        rows = [
            f"{kind * (1 + i % 7)} {i} {'é'[: i % 50 == 7]},{kind}\n" for i in range(150) for kind in "pq"
        ]
        (folder / "records.csv").write_text("text,kind\n" + "".join(rows), encoding="utf-8")

    return once("records", write) / "records.csv"


@pytest.fixture(scope="session")
def record_run_dir(record_file: Path, once: Callable[[str, Build], Path]) -> Path:
    """A run of `charloom train` on these records: with an end token, labels and an unknown token."""
    options = ("--cells", 16, "--embedding", 4, "--epochs", 2, "--batch", 8, "--length", 8, "--min-count", 9)
    parts = ("--train-fraction", 0.7, "--validation-fraction", 0.2, "--precision", "float32")

    def train(folder: Path) -> None:
        charloom("train", record_file, "--out", folder / "run", *RECORD_COLUMNS, *options, *parts)

    return once("trained-records", train) / "run"


@pytest.fixture(scope="session")
def record_bundle_dir(record_run_dir: Path, once: Callable[[str, Build], Path]) -> Path:
    """The bundle that `charloom export` makes of that run, in every precision."""

    def export(folder: Path) -> None:
        charloom("export", record_run_dir, "--out", folder / "records", "--precision", *PRECISIONS)

    return once("exported-records", export) / "records"


@pytest.fixture(scope="session")
def bundle_dir(run_dir: Path, once: Callable[[str, Build], Path]) -> Path:
    """The bundle that `charloom export` makes of that run, in every precision."""

    def export(folder: Path) -> None:
        charloom("export", run_dir, "--out", folder / "small", "--precision", *PRECISIONS)

    return once("exported", export) / "small"


def charloom(*arguments: object) -> None:
    """Runs the real command in this process, and shows what it said if it fails."""
    handler = signal.getsignal(signal.SIGTERM)
    with redirect_stdout(StringIO()), redirect_stderr(StringIO()) as said, pytest.raises(SystemExit) as exit_:
        main(list(map(str, arguments)))
    signal.signal(signal.SIGTERM, handler)
    assert exit_.value.code == 0, f"{arguments}\n{said.getvalue()}"


Finished = CompletedProcess[str]


@pytest.fixture
def in_process(
    monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Callable[..., Finished]]:
    """Runs `charloom` in this process: in_process(*arguments, stdin=..., cwd=..., **environment).

    What it gives is what `subprocess.run` gives of a process, for an eighth of the processor's time. It is
    for tests of what a command says and does; where signals, pipes or imports are the point, start a process.
    A bundle runs on one thread: more would spin while they wait for each other beside the other tests.
    """
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: object, stdin: str = "", cwd: Path | None = None, **environment: str) -> Finished:
        words = list(map(str, arguments))
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("CHARLOOM_")]:
                patch.delenv(name)
            for name, value in ({"COLUMNS": "400"} | environment).items():
                patch.setenv(name, value)
            patch.setattr("serving.engine.executor.available_cores", lambda: 1)
            if cwd is not None:
                patch.chdir(cwd)
            raw = BytesIO(stdin.encode("utf-8", "surrogateescape"))
            patch.setattr(sys, "stdin", TextIOWrapper(raw, encoding="utf-8"))
            capsysbinary.readouterr()
            with pytest.raises(SystemExit) as exit_:
                main(words)
        said = capsysbinary.readouterr()
        return Finished(words, exit_.value.code, said.out.decode(), said.err.decode())

    yield run
    signal.signal(signal.SIGTERM, handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Makes a skip a failure in `make test-all`, which installs all there is but another processor."""
    report = yield
    reason = str(call.excinfo and call.excinfo.value)
    mendable = report.skipped and not hasattr(report, "wasxfail") and "this processor" not in reason
    if mendable and os.environ.get("CHARLOOM_TEST_ALL"):
        report.outcome = "failed"
        report.longrepr = f"skipped, and make test-all skips nothing: {reason}"
    return report


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Finds a foreign program by name; skips the test without it."""

    def find(name: str) -> str:
        path = shutil.which(name, path=f"{ROOT / '.tools/bin'}{os.pathsep}{os.environ['PATH']}")
        if path is None:
            pytest.skip(f"no {name}: run `make test-all`, which installs it")
        return path

    return find


class Authority:
    """Makes certificates for this machine, all vouched for by one of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, folder.name)])
        self.root = folder / "root.pem"
        self.root.write_bytes(self._certificate(self._name, self._key, authority=True))

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and of its key; those of the same name are replaced."""
        key = ec.generate_private_key(ec.SECP256R1())
        files = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        files[0].write_bytes(self._certificate(subject, key, authority=False))
        files[1].write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return files

    def _certificate(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *, authority: bool) -> bytes:
        now = datetime.now(UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
        builder = (
            x509.CertificateBuilder(self._name, subject, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
        )
        return builder.sign(self._key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


@pytest.fixture
def make_authority(tmp_path: Path) -> Callable[[str], Authority]:
    """Makes authorities, by name."""
    return lambda name: Authority(tmp_path / name)


@pytest.fixture
def authority(make_authority: Callable[[str], Authority]) -> Authority:
    """Makes certificates."""
    return make_authority("authority")
