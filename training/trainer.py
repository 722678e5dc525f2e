"""The trainer: takes a model through a text, and can stop and go on anywhere."""

import math
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom.chunk import UNCOUNTED
from charloom.errors import CharloomError
from charloom.vocabulary import VOCABULARIES, VocabularyKinds
from networks.language_model import LanguageModel, State
from networks.registry import NETWORKS, NetworkRegistry
from training.carried_state import continued, named_state, restored_state
from training.checkpoint import Checkpoint, CheckpointError, TrainingState, load_checkpoint, write_checkpoint
from training.data.chunk import Chunk
from training.data.corpus import Corpus, Part, ShortTextError
from training.evaluation import HeldOutLoss, held_out_loss
from training.folder import RunFolder
from training.hardware import Hardware
from training.interrupt import Interrupt, Interruption, StoppedError
from training.optimizer import Optimizer
from training.options import Options
from training.progress import Progress
from training.randomness import Randomness
from training.ranks import ALONE, Ranks
from training.regularisation import RegularisedModel
from training.reporting.reporter import Reporter, Status
from training.reporting.run_reporter import Moment, RunReporter
from training.reporting.summary import RunSummary
from training.run_clock import RunClock
from training.schedule import Schedule

HELD_OUT = 20_000
"""Tokens of real held-out text that travel with every checkpoint."""


class DivergedError(CharloomError):
    """The training loss is not a finite number any more."""

    exit_code = 13


@dataclass(frozen=True)
class Due:
    """What is due between two steps, the same on all ranks."""

    signal: int
    """Number of the signal to stop for; 0 for none."""
    save: bool
    """Write a checkpoint."""
    status: bool
    """Show the status."""


class Trainer:
    """One run, or one rank's part in it."""

    def __init__(
        self,
        options: Options,
        corpus: Corpus,
        model: LanguageModel,
        hardware: Hardware,
        folder: RunFolder,
        reporter: Reporter,
        ranks: Ranks = ALONE,
        networks: NetworkRegistry = NETWORKS,
        vocabularies: VocabularyKinds = VOCABULARIES,
    ) -> None:
        """Prepares a run from its beginning; `resume` prepares one from its last checkpoint.

        Args:
            options: options with nothing left open.
            corpus: the text.
            model: the model, on the hardware's device.
            hardware: what to train on.
            folder: the folder of the run, which only the first rank writes to.
            reporter: the console.
            ranks: the processes of the run.
            networks: the kinds of network that its checkpoints may hold.
            vocabularies: the kinds of vocabulary, likewise.

        Raises:
            ShortTextError: the text is too short for the batch, or nothing of it is held out.
        """
        training, validation, _ = corpus.parts
        if not validation:
            raise ShortTextError(
                "the validation part of the text is empty: raise --validation-fraction, or use more text"
            )
        self.options = options
        self.corpus = corpus
        self.model = model
        self.hardware = hardware
        self.folder = folder
        self.reporter = reporter
        self.ranks = ranks
        self.networks = networks
        self.vocabularies = vocabularies
        self.batches = corpus.batches(options.batches, options.run.seed, ranks, hardware)
        """The training part of the text, as chunks."""
        self.schedule = Schedule.of(options.run, training, self.batches.chunks, validation)
        summary = RunSummary(options, corpus, model, hardware, self.batches, networks)
        self.report = RunReporter(summary, folder, self.schedule.steps, reporter, ranks)
        products = torch.bfloat16 if hardware.bfloat16 else torch.float32
        self.optimizer = Optimizer(model, options.optimizer, model.hidden_matrices, products)
        self.randomness = Randomness(options.run.seed, ranks.rank, hardware.device)
        regularised = RegularisedModel(model, options.regularisation, self.randomness.shared)
        self.network = ranks.replicate(regularised, hardware.device)
        """The model as a training step calls it: with dropout, its gradients averaged over all ranks."""
        self.progress = Progress()
        self.state: State = ()
        self.loss_total = torch.zeros((), dtype=torch.float64, device=hardware.device)
        self.interrupt = Interrupt()
        self.watch: Callable[[Trainer], None] | None = None
        """Called after each evaluation of a trained model; an exception from it ends the run."""
        self.clock = RunClock()
        self.seconds = 0.0
        """Seconds of the run, and of the evaluation to come, when the ranks last agreed on them."""
        self.last_evaluation_seconds = 0.0
        """Seconds that the last measurement of the held-out loss took."""
        self.saved_step = -1
        self.saved_at = time.monotonic()

    def resume(self, state: TrainingState) -> None:
        """Continues the run where a checkpoint left it.

        Raises:
            CheckpointError: the checkpoint's state is not one of this run.
        """
        tensors = state.tensors
        try:
            self.progress = Progress(**state.progress)
            self.progress.check()
            self.optimizer.restore(named(tensors, "optimizer."))
            self.state = self.restored(named(tensors, "state."))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the last checkpoint of {self.folder.path} is malformed: {error}"
            ) from error
        self.loss_total += self.progress.loss_total
        self.seconds = self.progress.seconds
        self.saved_step = self.progress.step
        took, evaluations = self.progress.evaluation_seconds, len(self.progress.evaluations)
        self.last_evaluation_seconds = took / max(1, evaluations)
        self.clock.resume(self.progress.seconds, took)
        self.report.resume(self.moment())

    def restored(self, tensors: dict[str, Tensor]) -> State:
        """Returns this rank's rows of the state of all, which go on where the run does.

        Raises:
            ValueError: it is none of this model, or of too few rows.
        """
        count = min(map(len, tensors.values()), default=0)
        if count < self.batches.carried(*self.place()):
            raise ValueError(f"its state is one of {count} rows")
        rank, world = self.ranks.rank, self.ranks.world
        # All ranks have equally many rows; those that fill a batch up never count, so any state will do.
        rows = [(rank + i * world) % count for i in range(-(-count // world))]
        return restored_state(self.model, tensors, rows)

    def run(self) -> Checkpoint:
        """Trains to the end and returns the best checkpoint.

        Raises:
            StoppedError: a signal asked to stop; the last checkpoint is of this moment, unless the
                run was still to be evaluated for the first time.
            DivergedError: the loss is no number any more; the last checkpoint is from before.
            SaveError: a checkpoint cannot be written.
        """
        with self.interrupt, self.report:
            self.open()
            try:
                return self.go_on()
            except Interruption as interruption:
                raise self.stop(interruption.number) from None
            except DivergedError:
                if self.progress.evaluations:
                    self.show("ended: the loss was no number any more")
                raise

    def open(self) -> None:
        """Opens the run log at this step."""
        self.report.open(self.progress)

    def describe(self, reason: str) -> None:
        """Says what is about to be trained, and why open options were chosen as they are."""
        self.report.describe(reason, self.moment() if self.progress.step else None)

    def go_on(self) -> Checkpoint:
        """Trains from here to the end; raises Interruption where `run` stops."""
        while self.advance():
            pass
        if not self.progress.evaluated:
            self.evaluate()
        return self.finish()

    def advance(self) -> bool:
        """Takes a step, with all that is due before it; False, and no step, at the end of the run.

        Raises:
            Interruption: a signal asks to stop.
        """
        if self.due():
            self.evaluate()
        due = self.agree()
        if due.signal:
            raise Interruption(due.signal)
        if due.save:
            self.save()
        if due.status:
            self.reporter.status(self.status())
        if self.finished():
            return False
        if self.report.log.due(self.progress.step) and not self.progress.evaluated:
            self.record()
        self.step()
        return True

    def agree(self) -> Due:
        """Agrees with all ranks on what is due: by the first rank's clock, and by a signal to any rank."""
        clock = self.clock.elapsed() + self.last_evaluation_seconds
        save = time.monotonic() - self.saved_at > self.options.run.save_minutes * 60
        status = self.reporter.status_due(self.progress.step)
        mine = (clock, save, status) if self.ranks.first else (0, 0, 0)
        signal, self.seconds, *due = self.ranks.highest(self.interrupt.number, *mine)
        return Due(int(signal), *map(bool, due))

    def check_interrupt(self) -> None:
        """Raises Interruption if a signal was received on any rank."""
        (signal,) = self.ranks.highest(self.interrupt.number)
        if signal:
            raise Interruption(int(signal))

    def due(self) -> bool:
        """Returns whether an evaluation is due before the next step."""
        return self.progress.step % self.schedule.interval == 0 and not self.progress.evaluated

    def step(self) -> None:
        """Trains on the next chunk."""
        chunk = self.next_chunk()
        self.randomness.begin(self.progress.step)
        with self.hardware.autocast():
            scores, state = self.network(chunk.inputs, self.state)  # [S, B, V]
        loss = mean_loss(scores, chunk)
        self.optimizer.step(loss, self.rate())
        self.state = self.model.detached(state)
        self.loss_total += loss.detach()
        self.progress.loss_steps += 1
        self.progress.step += 1

    def next_chunk(self) -> Chunk:
        """Returns the chunk of the next step, for whose rows the state is then that in which they begin."""
        chunk = self.batches.chunk(*self.place())
        self.state = continued(self.model, self.state, chunk.carried, chunk.inputs.shape[1])
        return chunk

    def place(self) -> tuple[int, int]:
        """Returns the epoch of the next step and its number therein, both counted from 0."""
        return divmod(self.progress.step, self.batches.chunks)

    def rate(self) -> float:
        """Returns the learning rate of the next step."""
        step = self.progress.step
        return self.optimizer.rate(step, self.place()[0], self.share())

    def share(self) -> float:
        """Returns the share of the run that is done, with time set aside for the last evaluation."""
        return self.schedule.progress(self.progress.step, self.seconds)

    @property
    def epoch(self) -> float:
        """Epochs read so far."""
        return self.progress.step / self.batches.chunks

    def finished(self) -> bool:
        """Returns whether the steps, the time or the patience are used up."""
        return self.share() >= 1 or self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Returns whether the loss has not improved for too long."""
        return 0 < self.options.run.patience <= self.progress.stale

    def training_loss(self) -> float | None:
        """Returns the mean training loss of all ranks since the last evaluation; None before any step.

        Raises:
            DivergedError: it is not finite.
        """
        total = self.mean(self.loss_total)
        self.check(total)
        return total / self.progress.loss_steps if self.progress.loss_steps else None

    def mean(self, loss: Tensor) -> float:
        """Averages a loss over all ranks, which read equally many tokens."""
        return self.ranks.total(float(loss)) / self.ranks.world

    def check(self, loss: float) -> None:
        """Raises DivergedError unless the loss is finite."""
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is no number any more at step {self.progress.step}: "
                f"lower --learning-rate (now {self.options.optimizer.learning_rate:g}); "
                f"the last good checkpoint is kept in {self.folder.path}"
            )

    def check_weights(self) -> None:
        """Raises DivergedError for weights that are not finite, where no loss has shown it yet."""
        if not self.progress.evaluated and not all(
            weight.isfinite().all() for weight in self.model.parameters()
        ):
            self.check(math.nan)

    def evaluate(self) -> None:
        """Measures the held-out loss, saves a checkpoint, and reports both with samples."""
        progress = self.progress
        training = self.training_loss()
        before = self.clock.evaluation_seconds
        with self.clock.evaluating():
            measured = self.held_out_loss("validation", "validating")
        loss = measured.mean
        self.last_evaluation_seconds = self.clock.evaluation_seconds - before
        self.check(loss)
        if not progress.held_out:
            progress.held_out = measured.tokens
            self.say_what_is_measured(measured.tokens)
        bits = self.corpus.bits_per_character(loss, "validation")
        best = loss < progress.best_loss
        progress.best_loss = min(loss, progress.best_loss)
        progress.stale = 0 if best else progress.stale + 1
        moment = self.moment()
        progress.evaluations.append(
            {
                "step": progress.step,
                "epoch": moment.epoch,
                "training_loss": training,
                "validation_loss": loss,
                "validation_bits_per_character": bits,
                "learning_rate": moment.learning_rate,
                "seconds": moment.seconds,
            }
        )
        self.record(loss)
        self.loss_total.zero_()
        progress.loss_steps = progress.logged_steps = 0
        progress.logged_total = 0.0
        with self.clock.evaluating():
            samples = self.report.sample(self.moment())
            self.save(best=best)
            self.report.evaluated(self.moment(), progress, samples, best=best)
        if progress.step and self.watch:
            self.watch(self)

    def record(self, validation: float | None = None) -> None:
        """Logs the mean training loss since the last record, and what else is known of this step."""
        progress = self.progress
        total = self.mean(self.loss_total)  # waits for the device, so that the clock is right after it
        self.check(total)
        steps = progress.loss_steps - progress.logged_steps
        training = (total - progress.logged_total) / steps if steps else None
        self.report.record(self.moment(), training, validation)
        progress.logged_total, progress.logged_steps = total, progress.loss_steps

    def say_what_is_measured(self, tokens: int) -> None:
        """Says so if evaluations measure a part of the validation text only."""
        whole = self.corpus.parts[1]
        if tokens < whole:
            self.reporter.say(
                f"each evaluation measures {tokens:,} of {whole:,} validation tokens, "
                "in pieces from all over them, so that it takes no more than its share of the time"
            )

    def held_out_loss(self, part: Part, doing: str) -> HeldOutLoss:
        """Measures the loss over a part that the model is not trained on; a signal may interrupt it.

        The first evaluation ends as the schedule says, all others after as many tokens.
        """
        begun = time.monotonic()

        def enough(tokens: int) -> bool:
            if self.progress.held_out:
                return tokens >= self.progress.held_out
            (seconds,) = self.ranks.highest(time.monotonic() - begun if self.ranks.first else 0)
            return self.schedule.enough(tokens, seconds)

        def pause(share: float) -> None:
            self.reporter.busy(doing, share)
            self.check_interrupt()

        batches = self.corpus.evaluation(part)
        return held_out_loss(self.model, batches, self.hardware, pause, self.ranks, enough)

    def save(self, *, best: bool = False) -> None:
        """Writes a checkpoint of this step.

        Raises:
            DivergedError: the loss or a weight is not finite.
            SaveError: it cannot be written.
        """
        progress = self.progress
        progress.loss_total = self.mean(self.loss_total)
        self.check(progress.loss_total)
        self.check_weights()
        self.ranks.from_first(self.report.log.sync)
        progress.seconds = self.clock.elapsed()
        progress.evaluation_seconds = self.clock.evaluation_seconds
        loss = progress.evaluations[-1]["validation_loss"]
        state = [self.ranks.gathered(part) for part in self.state]
        self.ranks.from_first(
            lambda: self.folder.save(
                f"epoch{self.epoch:.2f}_loss{loss:.4f}",
                progress.step,
                lambda folder: self.write(folder, state),
                best=best,
                keep=self.options.run.keep,
            )
        )
        self.saved_step = progress.step
        self.saved_at = time.monotonic()

    def write(self, folder: Path, state: list[Tensor]) -> None:
        """Writes everything into a checkpoint, with the state of all lanes."""
        tensors = {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        tensors |= {f"state.{name}": part for name, part in named_state(self.model, state).items()}
        manifest = self.report.summary.manifest(self.progress)
        held_out = self.corpus.beginning("validation", HELD_OUT)
        write_checkpoint(folder, manifest, self.model, tensors, held_out)

    def status(self) -> Status:
        """Makes the status of the run."""
        return self.report.status(self.moment(), self.training_loss(), self.progress)

    def show(self, state: str) -> None:
        """Writes the page, which states how the run stands."""
        self.report.show(state, self.progress)

    def moment(self) -> Moment:
        """Says where the run is."""
        return Moment(
            step=self.progress.step,
            epoch=self.epoch,
            share=min(1.0, self.share()),
            learning_rate=self.rate(),
            seconds=self.clock.elapsed(),
            training_seconds=self.clock.training_seconds(),
            seconds_left=self.schedule.seconds_left(
                self.progress.step,
                self.clock.elapsed(),
                self.clock.training_seconds(),
                self.last_evaluation_seconds,
            ),
        )

    def stop(self, number: int) -> StoppedError:
        """Saves a checkpoint of this step, and makes the error that says how to go on after a signal."""
        if not self.progress.evaluations:
            return StoppedError("stopped before training began: there is nothing to save", number)
        if self.saved_step != self.progress.step:
            self.save()
        self.show("stopped; --resume goes on")
        texts = self.corpus.texts
        text, out = shlex.join(texts.words or map(str, texts.files)), shlex.quote(str(self.folder.path))
        return StoppedError(
            f"stopped at epoch {self.epoch:.2f}, and saved; go on with: "
            f"charloom train {text} --out {out} --resume",
            number,
        )

    def finish(self) -> Checkpoint:
        """Reports the end of the run and returns its best checkpoint."""
        reason = "no better for some time" if self.out_of_patience() else "done"
        best = load_checkpoint(self.folder.path, self.networks, self.vocabularies)
        self.report.finished(self.moment(), reason, best, self.progress)
        if self.corpus.parts[2]:
            self.model.load_state_dict(best.weights)
            loss = self.held_out_loss("test", "testing").mean
            self.report.tested(reason, loss, self.progress)
        return best


def mean_loss(scores: Tensor, chunk: Chunk) -> Tensor:
    """Returns the mean loss over the tokens of a chunk that are answered, of scores [S, B, V].

    Of several ranks, the mean of theirs is that over the tokens of all.
    """
    nats = F.cross_entropy(
        scores.float().flatten(0, 1), chunk.targets.flatten(), ignore_index=UNCOUNTED, reduction="sum"
    )
    return nats / (chunk.answers or 1)  # nothing is answered where only labels are fed


def named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with a prefix, by their names without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
