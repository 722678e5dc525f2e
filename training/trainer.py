"""The trainer: takes a model through a text, and can stop and go on anywhere.

It knows nothing of the command line.
"""

import math
import shlex
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom.errors import CharloomError
from training.batches import Epoch, Lanes
from training.checkpoint import Checkpoint, CheckpointError, TrainingState, load_checkpoint, write_checkpoint
from training.corpus import Corpus, Ids, ShortTextError
from training.evaluation import held_out_loss
from training.folder import RunFolder
from training.hardware import Hardware
from training.interrupt import Interrupt, Interruption, StoppedError
from training.model import RecurrentModel, State
from training.optimizer import Optimizer
from training.options import Options
from training.preview import preview
from training.report import Reporter, Status, clock
from training.schedule import Schedule


class DivergedError(CharloomError):
    """The loss is no number any more."""

    exit_code = 13


@dataclass
class Progress:
    """How far a run has come, as a checkpoint keeps it."""

    step: int = 0
    seconds: float = 0.0
    evaluation_seconds: float = 0.0
    """Those of the seconds that went into evaluations, with their checkpoints and samples."""
    loss_total: float = 0.0
    """Sum of the training losses of the `loss_steps` steps since the last evaluation."""
    loss_steps: int = 0
    best_loss: float = math.inf
    stale: int = 0
    """Evaluations since the best one."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)

    def check(self) -> None:
        """Raises ValueError unless it is what a checkpoint can hold."""
        for name in ("step", "loss_steps", "stale"):
            value = getattr(self, name)
            if type(value) is not int or value < 0:
                raise ValueError(f"its {name} is no count")
        for name in ("seconds", "evaluation_seconds", "loss_total", "best_loss"):
            if type(getattr(self, name)) not in (int, float):
                raise ValueError(f"its {name} is no number")
        if not isinstance(self.evaluations, list) or not self.evaluations:
            raise ValueError("it has no evaluations")
        last = self.evaluations[-1]
        if not isinstance(last, dict) or not {"step", "training_loss", "validation_loss"} <= last.keys():
            raise ValueError("its last evaluation is incomplete")


class Trainer:
    """One run."""

    def __init__(
        self,
        options: Options,
        corpus: Corpus,
        model: RecurrentModel,
        hardware: Hardware,
        folder: RunFolder,
        reporter: Reporter,
    ) -> None:
        """Takes a model on the hardware's device.

        Raises:
            ShortTextError: the text is too short for the batch, or nothing of it is held out.
        """
        vocabulary = corpus.vocabulary
        newline = int(vocabulary.encode("\n")[0]) if "\n" in vocabulary.characters else None
        if not len(corpus.validation):
            raise ShortTextError("the validation part of the text is empty: raise --validation-fraction")
        self.options = options
        self.corpus = corpus
        self.model = model
        self.hardware = hardware
        self.folder = folder
        self.reporter = reporter
        self.lanes = Lanes(corpus.train, vocabulary.start, newline, options.batches, options.run.seed)
        self.schedule = Schedule.of(options.run, len(corpus.train), self.lanes.chunks)
        self.optimizer = Optimizer(model, options.optimizer)
        self.progress = Progress()
        self.state: State = ()
        self.loss_total = torch.zeros((), dtype=torch.float64, device=hardware.device)
        self.epoch_tensors: tuple[Tensor, Tensor] | None = None
        self.interrupt = Interrupt()
        self.evaluation_seconds = 0.0
        """Seconds that the last measurement of the held-out loss took."""
        self.saved_step = -1
        self.started = self.saved_at = time.monotonic()
        self.spoken = (0, 0.0)
        """Step and training seconds of the last status."""

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
            torch.set_rng_state(tensors["random.cpu"])
            if self.hardware.device.type == "cuda" and "random.cuda" in tensors:
                torch.cuda.set_rng_state(tensors["random.cuda"], self.hardware.device)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(
                f"the last checkpoint of {self.folder.path} is malformed: {error}"
            ) from error
        carried = named(tensors, "state.")
        self.state = tuple(carried[str(i)].to(self.hardware.device) for i in range(len(carried)))
        self.loss_total += self.progress.loss_total
        self.saved_step = self.progress.step
        self.evaluation_seconds = self.progress.evaluation_seconds / max(1, len(self.progress.evaluations))
        self.started -= self.progress.seconds
        self.spoken = (self.progress.step, self.training_seconds())

    def run(self) -> Checkpoint:
        """Trains to the end and gives the best checkpoint.

        Raises:
            StoppedError: a signal asked to stop; the last checkpoint is of this moment, unless the
                run was still to be evaluated for the first time.
            DivergedError: the loss is no number any more; the last checkpoint is from before.
            SaveError: a checkpoint cannot be written.
        """
        with self.interrupt, self.reporter:
            try:
                return self.go_on()
            except Interruption as interruption:
                raise self.stop(interruption.number) from None

    def go_on(self) -> Checkpoint:
        """Trains from here to the end; raises Interruption where `run` stops."""
        if self.due():
            self.evaluate()
        while not self.finished():
            self.step()
            if self.due():
                self.evaluate()
            elif time.monotonic() - self.saved_at > self.options.run.save_minutes * 60:
                self.save()
            if self.reporter.due():
                self.reporter.status(self.status())
            self.interrupt.heed()
        if not self.evaluated():
            self.evaluate()
        return self.finish()

    def evaluated(self) -> bool:
        """Whether the held-out loss of this step is known."""
        evaluations = self.progress.evaluations
        return bool(evaluations) and bool(evaluations[-1]["step"] == self.progress.step)

    def due(self) -> bool:
        """Whether the schedule asks for an evaluation now."""
        return self.progress.step % self.schedule.interval == 0 and not self.evaluated()

    def step(self) -> None:
        """Reads the next chunk and learns from it."""
        inputs, targets = self.next_chunk()  # [S, B]
        with self.hardware.autocast():
            scores, state = self.model(inputs, self.state)  # [S, B, V]
        loss = F.cross_entropy(scores.float().flatten(0, 1), targets.flatten())
        self.optimizer.step(loss, self.rate())
        self.state = tuple(part.detach().float() for part in state)
        self.loss_total += loss.detach()
        self.progress.loss_steps += 1
        self.progress.step += 1

    def next_chunk(self) -> tuple[Tensor, Tensor]:
        """What the next step is fed and should answer, int64 [S, B]; a new epoch starts afresh."""
        epoch, chunk = divmod(self.progress.step, self.lanes.chunks)
        if chunk == 0:
            self.state = self.model.initial_state(self.options.batches.batch)
        if chunk == 0 or self.epoch_tensors is None:
            self.epoch_tensors = on_device(self.lanes.epoch(epoch), self.hardware.device)
        span = self.lanes.spans[chunk]
        inputs, targets = self.epoch_tensors
        return inputs[span].long(), targets[span].long()

    def rate(self) -> float:
        """The learning rate of the next step."""
        step = self.progress.step
        return self.optimizer.rate(step, step // self.lanes.chunks, self.share())

    def share(self) -> float:
        """Share of the run that is done, with time set aside for the last evaluation."""
        return self.schedule.progress(self.progress.step, self.elapsed() + self.evaluation_seconds)

    def elapsed(self) -> float:
        """Seconds that the run has taken, interruptions apart."""
        return time.monotonic() - self.started

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
        return self.progress.step / self.lanes.chunks

    def finished(self) -> bool:
        """Whether the steps, the time or the patience are used up."""
        return self.share() >= 1 or self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether the loss has not improved for too long."""
        return 0 < self.options.run.patience <= self.progress.stale

    def training_loss(self) -> float | None:
        """Mean training loss since the last evaluation; None before the first step.

        Raises:
            DivergedError: it is no number.
        """
        total = float(self.loss_total)
        self.check(total)
        return total / self.progress.loss_steps if self.progress.loss_steps else None

    def check(self, loss: float) -> None:
        """Raises DivergedError unless the loss is a number."""
        if not math.isfinite(loss):
            raise DivergedError(
                f"the loss is no number any more at step {self.progress.step}: "
                f"lower --learning-rate (now {self.options.optimizer.learning_rate:g}); "
                f"the last good checkpoint is kept in {self.folder.path}"
            )

    def evaluate(self) -> None:
        """Measures the held-out loss, saves, and shows what the model writes."""
        progress = self.progress
        training = self.training_loss()
        before = progress.evaluation_seconds
        with self.evaluating():
            loss = self.held_out_loss(self.corpus.validation, "validating")
        self.evaluation_seconds = progress.evaluation_seconds - before
        self.check(loss)
        best = loss < progress.best_loss
        progress.best_loss = min(loss, progress.best_loss)
        progress.stale = 0 if best else progress.stale + 1
        progress.evaluations.append(
            {
                "step": progress.step,
                "epoch": self.epoch,
                "training_loss": training,
                "validation_loss": loss,
                "learning_rate": self.rate(),
                "seconds": self.elapsed(),
            }
        )
        self.loss_total.zero_()
        progress.loss_steps = 0
        with self.evaluating():
            self.save(best=best)
            trained = "" if training is None else f"loss {training:.4f}  "
            self.reporter.say(
                f"epoch {self.epoch:.2f}  {trained}validation {loss:.4f}{'  (best)' if best else ''}"
            )
            if progress.step == 0:
                return  # nobody wants to read what an untrained model writes
            seed = (self.options.run.seed, progress.step)
            self.reporter.samples(preview(self.model, self.corpus.vocabulary, self.options.preview, seed))

    def held_out_loss(self, text: Ids, doing: str) -> float:
        """The model's loss over a text that it is not trained on; heeds signals meanwhile."""

        def pause(share: float) -> None:
            self.reporter.busy(doing, share)
            self.interrupt.heed()

        return held_out_loss(self.model, text, self.corpus.vocabulary.start, self.hardware, pause)

    def save(self, *, best: bool = False) -> None:
        """Writes a checkpoint of this moment."""
        progress = self.progress
        progress.loss_total = float(self.loss_total)
        self.check(progress.loss_total)
        progress.seconds = self.elapsed()
        loss = progress.evaluations[-1]["validation_loss"]
        self.folder.save(
            f"epoch{self.epoch:.2f}_loss{loss:.4f}",
            progress.step,
            self.write,
            best=best,
            keep=self.options.run.keep,
        )
        self.saved_step = progress.step
        self.saved_at = time.monotonic()

    def write(self, folder: Path) -> None:
        """Writes everything into a checkpoint."""
        manifest = {
            "options": self.options.to_json(),
            "vocabulary": self.corpus.vocabulary.to_json(),
            "summary": self.summary(),
            "progress": asdict(self.progress),
        }
        tensors = {f"optimizer.{name}": value for name, value in self.optimizer.tensors().items()}
        tensors |= {f"state.{i}": part for i, part in enumerate(self.state)}
        tensors["random.cpu"] = torch.get_rng_state()
        if self.hardware.device.type == "cuda":
            tensors["random.cuda"] = torch.cuda.get_rng_state(self.hardware.device)
        write_checkpoint(folder, manifest, self.model, tensors, self.corpus.held_out)

    def summary(self) -> dict[str, Any]:
        """What people and manifests want to know of the model."""
        last = self.progress.evaluations[-1]
        characters = self.epoch * self.lanes.time * self.options.batches.batch
        return {
            "text": self.corpus.summary(),
            "parameters": self.model.parameter_count(),
            "vocabulary_size": self.corpus.vocabulary.size,
            "epoch": self.epoch,
            "steps": self.progress.step,
            "characters_seen": round(characters),
            "training_loss": last["training_loss"],
            "validation_loss": last["validation_loss"],
            "best_validation_loss": self.progress.best_loss,
            "seconds": self.progress.seconds,
            "hardware": self.hardware.summary(),
        }

    def status(self) -> Status:
        """How the run stands."""
        now, step = self.training_seconds(), self.progress.step
        before, then = self.spoken
        self.spoken = (step, now)
        characters = (step - before) / self.lanes.chunks * self.lanes.time * self.options.batches.batch
        last = self.progress.evaluations[-1]
        return Status(
            share=min(1.0, self.share()),
            epoch=self.epoch,
            loss=self.training_loss() or last["training_loss"] or last["validation_loss"],
            validation=last["validation_loss"],
            speed=characters / max(now - then, 1e-9),
            seconds_left=self.seconds_left(),
        )

    def seconds_left(self) -> float:
        """About how long the run still takes, from what steps and evaluations have taken so far."""
        steps = max(0, self.schedule.steps - self.progress.step)
        evaluations = math.ceil(steps / self.schedule.interval)
        seconds = (
            steps * self.training_seconds() / max(1, self.progress.step)
            + evaluations * self.evaluation_seconds
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
            f"best validation loss {progress.best_loss:.4f}: {self.folder.path / best.name}"
        )
        if len(self.corpus.test):
            self.model.load_state_dict(best.weights)
            self.reporter.say(f"test loss {self.held_out_loss(self.corpus.test, 'testing'):.4f}")
        return best


def on_device(epoch: Epoch, device: torch.device) -> tuple[Tensor, Tensor]:
    """An epoch's inputs and targets, each [T, B], where they are needed."""
    return torch.from_numpy(epoch.inputs).to(device), torch.from_numpy(epoch.targets).to(device)


def named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
