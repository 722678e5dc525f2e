"""The trainer: takes a model through a text, and can stop and go on anywhere.

It knows nothing of the command line.
"""

import math
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from charloom.errors import CharloomError
from training.batches import Epoch, Lanes
from training.checkpoint import Checkpoint, CheckpointError, TrainingState, load_checkpoint, write_checkpoint
from training.corpus import Corpus, ShortTextError
from training.evaluation import held_out_loss
from training.folder import RunFolder
from training.hardware import Hardware
from training.interrupt import Interrupt, StoppedError
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
    loss_total: float = 0.0
    """Sum of the training losses of the `loss_steps` steps since the last evaluation."""
    loss_steps: int = 0
    best_loss: float = math.inf
    stale: int = 0
    """Evaluations since the best one."""
    evaluations: list[dict[str, Any]] = field(default_factory=list)


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
        self.evaluation_seconds = 0.0
        self.saved_step = -1
        self.started = self.saved_at = time.monotonic()
        self.spoken = (0, self.started)

    def resume(self, state: TrainingState) -> None:
        """Takes up the run where a checkpoint left it.

        Raises:
            CheckpointError: the checkpoint's state is not one of this run.
        """
        tensors = state.tensors
        try:
            self.progress = Progress(**state.progress)
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
        self.started -= self.progress.seconds
        self.spoken = (self.progress.step, time.monotonic())

    def run(self) -> Checkpoint:
        """Trains to the end and gives the best checkpoint.

        Raises:
            StoppedError: a signal asked to stop; the last checkpoint is of this moment.
            DivergedError: the loss is no number any more; the last checkpoint is from before.
            SaveError: a checkpoint cannot be written.
        """
        with Interrupt() as interrupt, self.reporter:
            if not self.progress.evaluations:
                self.evaluate()
            while not self.finished():
                self.step()
                if self.progress.step % self.schedule.interval == 0:
                    self.evaluate()
                elif time.monotonic() - self.saved_at > self.options.run.save_minutes * 60:
                    self.save()
                if self.reporter.due():
                    self.reporter.status(self.status())
                if interrupt.number is not None:
                    self.stop(interrupt.number)
            if self.progress.evaluations[-1]["step"] != self.progress.step:
                self.evaluate()
        return self.finish()

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
        begun = time.monotonic()
        loss = self.held_out_loss(self.corpus.validation)
        self.evaluation_seconds = time.monotonic() - begun
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
        self.save(best=best)
        trained = "" if training is None else f"loss {training:.4f}  "
        self.reporter.say(
            f"epoch {self.epoch:.2f}  {trained}validation {loss:.4f}{'  (best)' if best else ''}"
        )
        if progress.step == 0:
            return  # nobody wants to read what an untrained model writes
        seed = (self.options.run.seed, progress.step)
        self.reporter.samples(preview(self.model, self.corpus.vocabulary, self.options.preview, seed))

    def held_out_loss(self, text: Any) -> float:
        """The model's loss over a text that it is not trained on."""
        return held_out_loss(self.model, text, self.corpus.vocabulary.start, self.hardware)

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
        now, step, share = time.monotonic(), self.progress.step, self.share()
        before, then = self.spoken
        self.spoken = (step, now)
        characters = (step - before) / self.lanes.chunks * self.lanes.time * self.options.batches.batch
        last = self.progress.evaluations[-1]
        return Status(
            share=min(1.0, share),
            epoch=self.epoch,
            loss=self.training_loss() or last["training_loss"] or last["validation_loss"],
            validation=last["validation_loss"],
            speed=characters / max(now - then, 1e-9),
            seconds_left=self.elapsed() * max(0.0, 1 - share) / max(share, 1e-9),
        )

    def stop(self, number: int) -> None:
        """Leaves a checkpoint of this moment and ends on a signal."""
        if self.saved_step != self.progress.step:
            self.save()
        raise StoppedError(
            f"stopped at epoch {self.epoch:.2f}, and saved; go on with: "
            f"charloom train {self.corpus.path} --out {self.folder.path} --resume",
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
            self.reporter.say(f"test loss {self.held_out_loss(self.corpus.test):.4f}")
        return best


def on_device(epoch: Epoch, device: torch.device) -> tuple[Tensor, Tensor]:
    """An epoch's inputs and targets, each [T, B], where they are needed."""
    return torch.from_numpy(epoch.inputs).to(device), torch.from_numpy(epoch.targets).to(device)


def named(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
