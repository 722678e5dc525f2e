"""The trainer: takes a model through a text, and can stop and go on anywhere.

It knows nothing of the command line.
"""

import math
import shlex
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom.errors import CharloomError
from charloom.vocabulary import Ids
from networks.kernels import State
from networks.recurrent import RecurrentModel
from training.checkpoint import Checkpoint, CheckpointError, TrainingState, load_checkpoint, write_checkpoint
from training.data.batches import Lanes, as_tensor
from training.data.corpus import Corpus, ShortTextError, readable_name
from training.data.reader import Reader
from training.evaluation import held_out_loss
from training.folder import RunFolder
from training.hardware import Hardware
from training.interrupt import Interrupt, Interruption, StoppedError
from training.optimizer import Optimizer
from training.options import Options
from training.progress import Progress
from training.randomness import Randomness
from training.ranks import ALONE, Ranks
from training.regularisation import RegularisedModel
from training.reporting.account import Account
from training.reporting.logbook import Logbook
from training.reporting.pace import Pace
from training.reporting.preview import preview
from training.reporting.records import Record
from training.reporting.report import Reporter, Status, clock
from training.schedule import Schedule


class DivergedError(CharloomError):
    """The loss is no number any more."""

    exit_code = 13


@dataclass(frozen=True)
class Wish:
    """What is to be done between two steps, the same on all ranks."""

    signal: int
    """To stop for; 0 for none."""
    save: bool
    report: bool


class Trainer:
    """One run, or one rank's part in it."""

    def __init__(
        self,
        options: Options,
        corpus: Corpus,
        model: RecurrentModel,
        hardware: Hardware,
        folder: RunFolder,
        reporter: Reporter,
        ranks: Ranks = ALONE,
    ) -> None:
        """Takes a model on the hardware's device; the folder is only written to by the first rank.

        Raises:
            ShortTextError: the text is too short for the batch, or nothing of it is held out.
        """
        vocabulary = corpus.vocabulary
        training, validation, _ = corpus.parts
        if not validation:
            raise ShortTextError("the validation part of the text is empty: raise --validation-fraction")
        self.options = options
        self.corpus = corpus
        self.model = model
        self.hardware = hardware
        self.folder = folder
        self.reporter = reporter
        self.ranks = ranks
        self.logbook = Logbook(folder.path, options.logbook)
        ours = ranks.lanes(options.batches.batch)
        self.lanes = Lanes(
            training, vocabulary.start, vocabulary.find("\n"), options.batches, options.run.seed, ours
        )
        self.schedule = Schedule.of(options.run, training, self.lanes.chunks, validation)
        self.account = Account(options, corpus, model, hardware, self.lanes)
        self.optimizer = Optimizer(model, options.optimizer)
        self.randomness = Randomness(options.run.seed, ranks.rank, hardware.device)
        regularised = RegularisedModel(model, options.regularisation, self.randomness.shared)
        self.network = ranks.replicate(regularised, hardware.device)
        """The model, as a step calls it."""
        self.progress = Progress()
        self.state: State = ()
        self.loss_total = torch.zeros((), dtype=torch.float64, device=hardware.device)
        self.interrupt = Interrupt()
        self.watch: Callable[[Trainer], None] | None = None
        """Called after each evaluation but that of the untrained model; what it raises ends the run."""
        self.seconds = 0.0
        """Seconds of the run, and of the evaluation to come, when the ranks last agreed on them."""
        self.last_evaluation_seconds = 0.0
        """Seconds that the last measurement of the held-out loss took."""
        self.saved_step = -1
        self.started = self.saved_at = time.monotonic()
        self.spoken, self.noted = Pace(), Pace()
        """From one status to the next, and from one note in the logbook to the next."""

    def resume(self, state: TrainingState) -> None:
        """Takes up the run where a checkpoint left it.

        Raises:
            CheckpointError: the checkpoint's state is not one of this run.
        """
        tensors = state.tensors
        try:
            self.progress = Progress(**state.progress)
            self.progress.check()
            self.optimizer.restore(named(tensors, "optimizer."))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the last checkpoint of {self.folder.path} is malformed: {error}"
            ) from error
        carried = named(tensors, "state.")
        ours = slice(self.lanes.ours.start, self.lanes.ours.stop)
        parts = [carried[str(i)][:, ours].contiguous() for i in range(len(carried))]
        self.state = tuple(part.to(self.hardware.device) for part in parts)
        self.loss_total += self.progress.loss_total
        self.seconds = self.progress.seconds
        self.saved_step = self.progress.step
        took, evaluations = self.progress.evaluation_seconds, len(self.progress.evaluations)
        self.last_evaluation_seconds = took / max(1, evaluations)
        self.started -= self.progress.seconds
        self.spoken, self.noted = (Pace(self.progress.step, self.training_seconds()) for _ in range(2))

    def run(self) -> Checkpoint:
        """Trains to the end and gives the best checkpoint.

        Raises:
            StoppedError: a signal asked to stop; the last checkpoint is of this moment, unless the
                run was still to be evaluated for the first time.
            DivergedError: the loss is no number any more; the last checkpoint is from before.
            SaveError: a checkpoint cannot be written.
        """
        with self.interrupt, self.reporter, self.logbook:
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
        """Opens the logbook at this step; what it has of later ones comes again."""
        # A step is noted as it is evaluated, or else as the next one begins.
        through = self.progress.step if self.progress.evaluated else self.progress.step - 1
        self.ranks.from_first(lambda: self.logbook.open(through))

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
        wish = self.agreed()
        if wish.signal:
            raise Interruption(wish.signal)
        if wish.save:
            self.save()
        if wish.report:
            self.reporter.status(self.status())
        if self.finished():
            return False
        if self.logbook.due(self.progress.step) and not self.progress.evaluated:
            self.note()
        self.step()
        return True

    def agreed(self) -> Wish:
        """What to do now: as the first rank's clock says, and as a signal to any of them demands."""
        clock = self.elapsed() + self.last_evaluation_seconds
        late = time.monotonic() - self.saved_at > self.options.run.save_minutes * 60
        speak = self.reporter.status_due(self.progress.step)
        mine = (clock, late, speak) if self.ranks.first else (0, 0, 0)
        signal, self.seconds, save, report = self.ranks.highest(self.interrupt.number, *mine)
        return Wish(int(signal), bool(save), bool(report))

    def heed(self) -> None:
        """Raises Interruption if a signal was noted, on any rank."""
        (signal,) = self.ranks.highest(self.interrupt.number)
        if signal:
            raise Interruption(int(signal))

    def due(self) -> bool:
        """Whether the schedule asks for an evaluation now."""
        return self.progress.step % self.schedule.interval == 0 and not self.progress.evaluated

    def step(self) -> None:
        """Reads the next chunk and learns from it."""
        inputs, targets = self.next_chunk()  # [S, B]
        self.randomness.begin(self.progress.step)
        with self.hardware.autocast():
            scores, state = self.network(inputs, self.state)  # [S, B, V]
        loss = F.cross_entropy(scores.float().flatten(0, 1), targets.flatten())
        self.optimizer.step(loss, self.rate())
        self.state = tuple(part.detach().float() for part in state)
        self.loss_total += loss.detach()
        self.progress.loss_steps += 1
        self.progress.step += 1

    def next_chunk(self) -> tuple[Tensor, Tensor]:
        """What the next step is fed and should answer, int64 [S, B]; a new epoch starts afresh."""
        epoch, number = divmod(self.progress.step, self.lanes.chunks)
        if number == 0:
            self.state = self.model.initial_state(len(self.lanes.ours))
        chunk = self.reader.chunk(epoch, number)
        return chunk.inputs, chunk.targets

    @cached_property
    def reader(self) -> Reader:
        """Of the text to train on."""
        return Reader(self.lanes, self.hardware.held(as_tensor(self.corpus.train)), self.hardware)

    def rate(self) -> float:
        """The learning rate of the next step."""
        step = self.progress.step
        return self.optimizer.rate(step, step // self.lanes.chunks, self.share())

    def share(self) -> float:
        """Share of the run that is done, with time set aside for the last evaluation."""
        return self.schedule.progress(self.progress.step, self.seconds)

    def elapsed(self) -> float:
        """Seconds that the run has taken, interruptions apart."""
        return time.monotonic() - self.started

    @property
    def characters_per_step(self) -> float:
        """Characters of all lanes in a step, on the average."""
        return self.lanes.tokens_per_step * self.corpus.characters_per_token

    def training_seconds(self) -> float:
        """Those of the seconds in which it trained, and did not evaluate."""
        return self.elapsed() - self.progress.evaluation_seconds

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Counts the seconds within it as evaluation."""
        begun = time.monotonic()
        try:
            yield
        finally:
            self.progress.evaluation_seconds += time.monotonic() - begun

    @property
    def epoch(self) -> float:
        """Epochs read."""
        return self.lanes.epochs(self.progress.step)

    def finished(self) -> bool:
        """Whether the steps, the time or the patience are used up."""
        return self.share() >= 1 or self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether the loss has not improved for too long."""
        return 0 < self.options.run.patience <= self.progress.stale

    def training_loss(self) -> float | None:
        """Mean training loss since the last evaluation, of all ranks; None before the first step.

        Raises:
            DivergedError: it is no number.
        """
        total = self.mean(self.loss_total)
        self.check(total)
        return total / self.progress.loss_steps if self.progress.loss_steps else None

    def mean(self, loss: Tensor) -> float:
        """A loss, averaged over all ranks, which read equally many characters."""
        return self.ranks.total(float(loss)) / self.ranks.world

    def check(self, loss: float) -> None:
        """Raises DivergedError unless the loss is a number."""
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is no number any more at step {self.progress.step}: "
                f"lower --learning-rate (now {self.options.optimizer.learning_rate:g}); "
                f"the last good checkpoint is kept in {self.folder.path}"
            )

    def check_weights(self) -> None:
        """Raises DivergedError for weights that no loss has seen yet and are no numbers."""
        if not self.progress.evaluated and not all(
            weight.isfinite().all() for weight in self.model.parameters()
        ):
            self.check(math.nan)

    def evaluate(self) -> None:
        """Measures the held-out loss, saves, and shows what the model writes."""
        progress = self.progress
        training = self.training_loss()
        before = progress.evaluation_seconds
        with self.evaluating():
            loss = self.held_out_loss(self.corpus.validation, "validating")
        self.last_evaluation_seconds = progress.evaluation_seconds - before
        self.check(loss)
        bits = self.corpus.bits_per_character(loss, "validation")
        best = loss < progress.best_loss
        progress.best_loss = min(loss, progress.best_loss)
        progress.stale = 0 if best else progress.stale + 1
        progress.evaluations.append(
            {
                "step": progress.step,
                "epoch": self.epoch,
                "training_loss": training,
                "validation_loss": loss,
                "validation_bits_per_character": bits,
                "learning_rate": self.rate(),
                "seconds": self.elapsed(),
            }
        )
        self.note(loss)
        self.loss_total.zero_()
        progress.loss_steps = progress.noted_steps = 0
        progress.noted_total = 0.0
        with self.evaluating():
            written = self.write_samples()
            self.save(best=best)
            trained = "" if training is None else f"loss {training:.4f}  "
            self.reporter.say(
                f"epoch {self.epoch:.2f}  {trained}validation {loss:.4f} ({bits:.3f} bits a character)"
                f"{'  (best)' if best else ''}"
            )
            self.reporter.samples(written)
            self.show(f"{min(1.0, self.share()):.0%} done, about {clock(self.seconds_left())} left")
        if progress.step and self.watch:
            self.watch(self)

    def note(self, validation: float | None = None) -> None:
        """Notes the mean training loss since the last note, and what else there is to say of this step."""
        progress = self.progress
        total = self.mean(self.loss_total)  # waits for the device, so that the clock is right after it
        self.check(total)
        steps = progress.loss_steps - progress.noted_steps
        pace = self.noted.look(progress.step, self.training_seconds())
        record: Record = {
            "step": progress.step,
            "epoch": self.epoch,
            "training_loss": (total - progress.noted_total) / steps if steps else None,
            "validation_loss": validation,
            "learning_rate": self.rate(),
            "characters_per_second": pace * self.characters_per_step or None,
            "seconds": self.elapsed(),
        }
        self.ranks.from_first(lambda: self.logbook.measure(record))
        progress.noted_total, progress.noted_steps = total, progress.loss_steps

    def write_samples(self) -> list[tuple[float, str]]:
        """What the model writes by now, by temperature; nobody wants to read what an untrained one writes."""
        if self.progress.step == 0:
            return []
        seed = (self.options.run.seed, self.progress.step)

        def write() -> list[tuple[float, str]]:
            samples = preview(self.model, self.corpus.vocabulary, self.options.preview, seed)
            if samples:
                self.logbook.sample(self.progress.step, self.epoch, samples)
            return samples

        return self.ranks.from_first(write)

    def show(self, state: str, test_loss: float | None = None) -> None:
        """Writes the page, which says how the run stands."""
        name = readable_name(self.folder.path.resolve())
        self.ranks.from_first(
            lambda: self.logbook.show(self.account.facts(name, state, self.progress, test_loss))
        )

    def held_out_loss(self, text: Ids, doing: str) -> float:
        """The model's loss over a text that it is not trained on; heeds signals meanwhile."""

        def pause(share: float) -> None:
            self.reporter.busy(doing, share)
            self.heed()

        return held_out_loss(
            self.model, text, self.corpus.vocabulary.start, self.hardware, pause, ranks=self.ranks
        )

    def save(self, *, best: bool = False) -> None:
        """Writes a checkpoint of this moment."""
        progress = self.progress
        progress.loss_total = self.mean(self.loss_total)
        self.check(progress.loss_total)
        self.check_weights()
        self.ranks.from_first(self.logbook.sync)
        progress.seconds = self.elapsed()
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
        tensors |= {f"state.{i}": part for i, part in enumerate(state)}
        write_checkpoint(
            folder, self.account.manifest(self.progress), self.model, tensors, self.corpus.held_out
        )

    def status(self) -> Status:
        """How the run stands."""
        now, step = self.training_seconds(), self.progress.step
        last = self.progress.evaluations[-1]
        return Status(
            share=min(1.0, self.share()),
            epoch=self.epoch,
            loss=self.training_loss() or last["training_loss"] or last["validation_loss"],
            validation=last["validation_loss"],
            speed=self.spoken.look(step, now) * self.characters_per_step,
            seconds_left=self.seconds_left(),
            step=step,
            steps=self.schedule.steps,
        )

    def seconds_left(self) -> float:
        """About how long the run still takes, from what steps and evaluations have taken so far."""
        steps = max(0, self.schedule.steps - self.progress.step)
        evaluations = math.ceil(steps / self.schedule.interval)
        seconds = (
            steps * self.training_seconds() / max(1, self.progress.step)
            + evaluations * self.last_evaluation_seconds
        )
        if self.schedule.seconds:
            seconds = min(seconds, self.schedule.seconds - self.elapsed())
        return max(0.0, seconds)

    def stop(self, number: int) -> StoppedError:
        """Leaves a checkpoint of this moment, and says how to go on after a signal."""
        if not self.progress.evaluations:
            return StoppedError("stopped before training began: there is nothing to save", number)
        if self.saved_step != self.progress.step:
            self.save()
        self.show("stopped; --resume goes on")
        text, out = shlex.quote(str(self.corpus.path)), shlex.quote(str(self.folder.path))
        return StoppedError(
            f"stopped at epoch {self.epoch:.2f}, and saved; go on with: "
            f"charloom train {text} --out {out} --resume",
            number,
        )

    def finish(self) -> Checkpoint:
        """Says how the run ended and gives its best checkpoint."""
        progress = self.progress
        reason = "no better for some time" if self.out_of_patience() else "done"
        best = load_checkpoint(self.folder.path)
        self.reporter.say(
            f"{reason}: {self.epoch:.2f} epochs in {clock(self.elapsed())}; "
            f"best validation loss {progress.best_loss:.4f} "
            f"({self.corpus.bits_per_character(progress.best_loss, 'validation'):.3f} bits a character): "
            f"{self.folder.path / best.name}"
        )
        self.show(reason)
        if len(self.corpus.test):
            self.model.load_state_dict(best.weights)
            loss = self.held_out_loss(self.corpus.test, "testing")
            bits = self.corpus.bits_per_character(loss, "test")
            self.reporter.say(f"test loss {loss:.4f} ({bits:.3f} bits a character)")
            self.show(reason, loss)
        return best


def named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
