"""`make mutants`: breaks the heart of the product on purpose, a line at a time, and sees whether tests fail.

Each mutant changes one fragment of code in a copy of the tree. It is killed if its tests fail, and survives
if they pass: then a defect of its kind could go unseen. Hypothesis draws the same cases in every run, so that
no mutant dies by luck. A fragment is found wherever it stands, and must stand in exactly one place. The
model that tests share is made once, without a mutant.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("charloom", "networks", "training", "export", "serving")
"""Where fragments are looked for."""
SECONDS = 120
"""Time limit of one test, after which it counts as failed: some mutants never end."""
FAILED = 1
"""Exit code of pytest when tests ran and some failed."""


@dataclass(frozen=True)
class Mutant:
    """One defect."""

    defect: str
    """What is wrong with it, in words."""
    old: str
    new: str
    tests: tuple[str, ...]
    """Files of tests that should see it; the first that fails ends the run."""


SAMPLER = ("tests/networks/test_sampler.py",)
SNAPSHOTS = ("tests/serving/test_snapshot.py",)
TRAINER = ("tests/training/test_trainer.py",)
RECORDS = ("tests/charloom/records/test_batches.py", "tests/training/test_records.py")

MUTANTS = (
    Mutant(
        "random numbers begin at the wrong place of a block",
        "offset: Words = (position & np.uint64(3))",
        "offset: Words = (position & np.uint64(1))",
        ("tests/charloom/test_philox.py",),
    ),
    Mutant(
        "the high half of a position is lost",
        "(blocks & LOW, blocks >> HALF, zero, zero)",
        "(blocks & LOW, zero, zero, zero)",
        ("tests/charloom/test_philox.py",),
    ),
    Mutant(
        "a draw from a small vocabulary takes a token whose cumulative mass only equals u",
        "count(cumulative <= uniform * cumulative[:, -1:])",
        "count(cumulative < uniform * cumulative[:, -1:])",
        SAMPLER,
    ),
    Mutant(
        "a draw in blocks takes a block whose cumulative mass only equals u",
        "passed = cumulative <= target",
        "passed = cumulative < target",
        SAMPLER,
    ),
    Mutant(
        "a draw in blocks leaves its block when u is just below 1",
        "torch.minimum(count(inner <= rest), count(inner < inner[:, -1:]))",
        "count(inner <= rest)",
        SAMPLER,
    ),
    Mutant(
        "top-k drops the equals of the last token that it keeps, and that one too",
        "mass < ranked.gather(1, k[:, None] - 1)",
        "mass <= ranked.gather(1, k[:, None] - 1)",
        SAMPLER,
    ),
    Mutant(
        "a penalty window is one token too long",
        ">= slots - window[:, None]",
        ">= slots - 1 - window[:, None]",
        SAMPLER,
    ),
    Mutant(
        "a stop string that begins at the end of a burst goes out in part",
        "max(map(len, self.strings), default=1) - 1, len(text)",
        "max(map(len, self.strings), default=2) - 2, len(text)",
        ("tests/serving/test_detokenizer.py",),
    ),
    Mutant(
        "a stop string ends a text that has one token less than min_tokens",
        "guarded + 1 - len(stop)",
        "guarded - len(stop)",
        ("tests/serving/test_detokenizer.py",),
    ),
    Mutant(
        "states are scattered to the slots in reverse",
        "self.tensors[spec.name][rows] = outputs[spec.output]",
        "self.tensors[spec.name][rows[::-1]] = outputs[spec.output]",
        ("tests/serving/test_state_pool.py", "tests/serving/test_engine.py"),
    ),
    Mutant(
        "a fresh stream gets the state that was left in its slot",
        "self.tensors[spec.name][slot] = spec.initial",
        "pass",
        ("tests/serving/test_state_pool.py", "tests/serving/test_engine.py"),
    ),
    Mutant(
        "a replay after a stop reads one token less",
        "return tokens[: position - self.position]",
        "return tokens[: position - self.position - 1]",
        SNAPSHOTS,
    ),
    Mutant(
        "rows that should freeze run on to the end of the burst",
        'feeds["steps"][:] = self.steps',
        'feeds["steps"][:] = self.length',
        ("tests/serving/test_batch.py", *SNAPSHOTS),
    ),
    Mutant(
        "all texts of one prompt have one seed",
        "replace(request, seed=seed_of(request.seed, i))",
        "replace(request, seed=request.seed)",
        ("tests/serving/test_fork.py", "tests/serving/test_independence.py"),
    ),
    Mutant(
        "temperatures take turns from the first token of a burst",
        "generated = self.generated[rows] + np.arange(self.length)[:, None]",
        "generated = 0 * self.generated[rows] + np.arange(self.length)[:, None]",
        ("tests/serving/test_batch.py", "tests/serving/test_independence.py"),
    ),
    Mutant(
        "the stream that has just run stays first in turn",
        "self._generating.move_to_end(stream)",
        "pass",
        ("tests/serving/test_scheduler.py",),
    ),
    Mutant(
        "a flood of new streams stops all others",
        "room = max(most - len(starting), most // 2)",
        "room = most - len(starting)",
        ("tests/serving/test_scheduler.py",),
    ),
    Mutant(
        "a history keeps half of the states that it should",
        "after.position - before.position > apart",
        "after.position - before.position > 2 * apart",
        ("tests/serving/test_history.py",),
    ),
    Mutant(
        "padding stays in what a burst gives",
        "return outputs if padded is feeds else take(outputs, FULL_OUTPUTS, np.arange(rows))",
        "return outputs",
        ("tests/serving/test_executor.py", "tests/serving/test_model.py"),
    ),
    Mutant(
        "the check of exactness compares nothing",
        "return all(bits(one[name]) == bits(other[name]) for name in other)",
        "return True",
        ("tests/charloom/test_batch_invariance.py",),
    ),
    Mutant(
        "a bundle's files are not compared with their digests",
        "if hashlib.sha256(data).hexdigest() != file.sha256:",
        "if False:",
        ("tests/charloom/test_bundle.py",),
    ),
    Mutant(
        "a state of anybody opens for a caller who was given none",
        "if payload is None or header.bound != (identity is not None):",
        "if payload is None:",
        ("tests/serving/security/test_sealing.py",),
    ),
    Mutant(
        "a state token lives for ever",
        "if header.expiry and age >= 0:",
        "if False:",
        ("tests/serving/security/test_sealing.py",),
    ),
    Mutant(
        "any scheme that begins like Bearer will do",
        'if scheme.lower() == "bearer" else None',
        'if scheme.lower().startswith("bearer") else None',
        ("tests/serving/security/test_callers.py",),
    ),
    Mutant(
        "a client replays tokens that the state has already",
        "self.state_tokens = len(self.tokens) - (response.position - response.state.position)",
        "self.state_tokens = len(self.tokens) - (response.position - response.state.position) - 1",
        ("tests/charloom/client/test_journal.py",),
    ),
    Mutant(
        "a client tries once more than it should",
        "self.failures >= self.config.max_attempts",
        "self.failures > self.config.max_attempts",
        ("tests/charloom/client/test_retries.py",),
    ),
    Mutant(
        "an LSTM's forget gate is off",
        "c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)",
        "c = torch.sigmoid(f + 1e-3) * c + torch.sigmoid(i) * torch.tanh(g)",
        ("tests/networks/recurrent/test_step.py",),
    ),
    Mutant(
        "a held-out loss is divided by one token too many",
        "HeldOutLoss(ranks.total(nats) / tokens, tokens)",
        "HeldOutLoss(ranks.total(nats) / (tokens + 1), tokens)",
        ("tests/training/test_evaluation.py",),
    ),
    Mutant(
        "the last tokens of a held-out text do not count",
        "self.time = -(-len(text) // self.count)",
        "self.time = len(text) // self.count",
        ("tests/charloom/test_evaluation_lanes.py",),
    ),
    Mutant(
        "the learning rate rises one step late",
        "rise = min(1.0, (step + 1) / (config.warmup + 1))",
        "rise = min(1.0, step / (config.warmup + 1))",
        ("tests/training/test_optimizer.py",),
    ),
    Mutant(
        "no state is carried from chunk to chunk",
        "self.state = self.model.detached(state)",
        "pass",
        TRAINER,
    ),
    Mutant(
        "a resumed run forgets its training loss so far",
        "self.loss_total += self.progress.loss_total",
        "pass",
        TRAINER,
    ),
    Mutant(
        "the state is lost with an evaluation in mid-epoch",
        "self.last_evaluation_seconds = self.clock.evaluation_seconds - before",
        "self.last_evaluation_seconds = self.clock.evaluation_seconds - before; self.state = "
        "self.model.initial_state(self.options.batches.batch)",
        TRAINER,
    ),
    Mutant(
        "what is dropped is the same in every step",
        "self.randomness.begin(self.progress.step)",
        "self.randomness.begin(0)",
        ("tests/training/test_randomness.py",),
    ),
    Mutant(
        "a state token keeps no seed that the server drew",
        "begun.seed, begun.max_tokens = request.seed, request.max_tokens",
        "begun.max_tokens = request.max_tokens",
        ("tests/serving/test_state_token.py",),
    ),
    Mutant(
        "files of a checkpoint are not synced",
        "write_synced(partial / name, data)",
        "(partial / name).write_bytes(data)",
        ("tests/charloom/test_files.py", "tests/training/test_checkpoint.py"),
    ),
    Mutant(
        "a checkpoint gets its name before its files are written",
        "partial.mkdir()\n",
        "partial.mkdir()\n        partial = partial.rename(folder)\n",
        ("tests/charloom/test_files.py", "tests/training/test_checkpoint.py"),
    ),
    Mutant(
        "a graph is not compared with its digest as it is opened",
        "graph = bundle.graph(precision, kind)",
        "graph = (bundle.path / bundle.manifest.precisions[precision].graphs[kind].file).read_bytes()",
        ("tests/serving/test_sessions.py",),
    ),
    Mutant(
        "lanes begin at the same place of the text in every epoch",
        "np.random.default_rng([self.seed, epoch])\n        offset",
        "np.random.default_rng([self.seed, 0])\n        offset",
        ("tests/training/data/test_batches.py",),
    ),
    Mutant(
        "lanes that begin a line go on with the state they had",
        "len(self.our_carried) if number else 0",
        "len(self.ours) if number else 0",
        TRAINER,
    ),
    Mutant(
        "rows that go on begin in a fresh state",
        "kept = tuple(part[:carried] for part in state)",
        "kept = model.initial_state(carried)",
        TRAINER,
    ),
    Mutant(
        "rows that go on have each other's state",
        "kept = tuple(part[:carried] for part in state)",
        "kept = tuple(part[:carried].flip(0) for part in state)",
        TRAINER,
    ),
    Mutant(
        "a resumed rank takes the rows of another",
        "rows = [(rank + i * world) % count",
        "rows = [(rank + 1 + i * world) % count",
        ("tests/training/test_records.py", "tests/training/test_second_network.py"),
    ),
    Mutant(
        "a record begins in the state at the end of another",
        "return TokenChunk(inputs, targets, rows if begin else 0, ",
        "return TokenChunk(inputs, targets, rows, ",
        RECORDS,
    ),
    Mutant(
        "a long record begins anew in every chunk",
        "return TokenChunk(inputs, targets, rows if begin else 0, ",
        "return TokenChunk(inputs, targets, 0, ",
        RECORDS,
    ),
    Mutant(
        "the end of a record is not answered",
        "answers = real & (steps >= records.labels)",
        "answers = real & (steps >= records.labels) & (steps < records.counts[members] - 1)",
        RECORDS,
    ),
    Mutant(
        "what answers a label counts",
        "answers = real & (steps >= records.labels)",
        "answers = real",
        RECORDS,
    ),
    Mutant(
        "lanes of an evaluation are primed with nothing",
        "carried = len(others)\n",
        "carried = 0\n",
        ("tests/charloom/test_evaluation_lanes.py",),
    ),
    Mutant(
        "a bundle is evaluated with a fresh state in every chunk",
        "np.concatenate([state[name][:carried], fresh[name]])",
        "np.concatenate([0 * state[name][:carried], fresh[name]])",
        ("tests/e2e/test_evaluate_records.py",),
    ),
)


@contextmanager
def copied() -> Iterator[Path]:
    """A copy of all files that git knows or would add."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],  # noqa: S607
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    with tempfile.TemporaryDirectory(prefix="charloom-mutant-") as folder:
        for name in filter(None, listed.stdout.split("\0")):
            if (ROOT / name).is_file():
                (Path(folder) / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, Path(folder) / name)
        yield Path(folder)


def place(mutant: Mutant, root: Path) -> Path:
    """The file of a mutant's fragment; ends the program unless it stands in exactly one place."""
    files = [path for package in PACKAGES for path in sorted((root / package).rglob("*.py"))]
    places = [path for path in files for _ in range(path.read_text("utf-8").count(mutant.old))]
    if len(places) != 1:
        sys.exit(f"{mutant.defect}: {len(places)} places have {mutant.old!r}; tools/mutants.py needs another")
    return places[0]


def run(root: Path, shared: Path, tests: Sequence[str], *, quiet: bool) -> int:
    """Exit code of pytest for these tests of a tree; what all tests share is in a folder of its own."""
    command = [sys.executable, "-m", "pytest", "-qx", "-m", "not slow", "-p", "no:cacheprovider"]
    command += ["--hypothesis-seed=0", f"--timeout={SECONDS}", *tests]
    env = {"PYTHONPATH": str(root), "OMP_NUM_THREADS": "1", "CHARLOOM_TEST_SHARED": str(shared)}
    return subprocess.run(
        command, cwd=root, env=os.environ | env, check=False, capture_output=quiet
    ).returncode


def outcome(mutant: Mutant, shared: Path) -> str:
    """What became of a mutant: killed, or else what is wrong."""
    with copied() as root:
        path = place(mutant, root)
        path.write_text(path.read_text("utf-8").replace(mutant.old, mutant.new), "utf-8")
        code = run(root, shared, mutant.tests, quiet=True)
    return {0: "SURVIVED", FAILED: "killed"}.get(code, f"BROKEN (pytest ended with {code})")


def main() -> None:
    """Tries the mutants, as many at a time as there are cores; exits with 1 unless all are killed."""
    parser = argparse.ArgumentParser(prog="make mutants", description=__doc__)
    parser.add_argument("words", nargs="*", help="only mutants whose defect has one of these words in it")
    options = parser.parse_args()
    mutants = [m for m in MUTANTS if not options.words or any(w in m.defect for w in options.words)]
    for mutant in mutants:
        place(mutant, ROOT)
    whole = tuple(dict.fromkeys(test for mutant in mutants for test in mutant.tests))
    with tempfile.TemporaryDirectory(prefix="charloom-shared-") as shared:
        print(f"{len(whole)} files of tests, with no mutant in the code", flush=True)
        with copied() as root:
            if run(root, Path(shared), whole, quiet=False):
                sys.exit("these tests must pass before they can see anything")
        survivors = 0
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            outcomes = pool.map(outcome, mutants, repeat(Path(shared)))
            for mutant, found in zip(mutants, outcomes, strict=True):
                survivors += found != "killed"
                print(f"{found:9} {mutant.defect}", flush=True)
    print(f"{len(mutants) - survivors} of {len(mutants)} killed")
    sys.exit(survivors > 0)


if __name__ == "__main__":
    main()
