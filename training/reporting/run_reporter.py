"""The reporter of a run: everything that a run tells people and programs while it trains.

Lines and samples go to the console, records and samples to the run log, and all of it to the page.
"""

from dataclasses import dataclass
from types import TracebackType

from charloom.printable import printable
from training.checkpoint import Checkpoint
from training.folder import RunFolder
from training.progress import Progress
from training.ranks import Ranks
from training.reporting.preview import preview
from training.reporting.reporter import Reporter, Status, clock
from training.reporting.run_log import RunLog
from training.reporting.summary import RunSummary


@dataclass(frozen=True)
class Moment:
    """Where a run is between two steps."""

    step: int
    epoch: float
    """Epochs read."""
    share: float
    """Share of the run that is done, at most 1."""
    learning_rate: float
    seconds: float
    """Seconds that the run has taken."""
    training_seconds: float
    """Seconds in which it trained and did not evaluate."""
    seconds_left: float
    """Estimate of the seconds that it still takes."""


class Speedometer:
    """Steps a second, from one reading to the next."""

    def __init__(self) -> None:
        self.step = 0
        self.seconds = 0.0

    def read(self, moment: Moment) -> float:
        """Returns the steps a second since the last reading; 0 if there were none."""
        steps, took = moment.step - self.step, moment.training_seconds - self.seconds
        self.start(moment)
        return steps / max(took, 1e-9)

    def start(self, moment: Moment) -> None:
        """Starts measuring at a moment."""
        self.step, self.seconds = moment.step, moment.training_seconds


class RunReporter:
    """Reports one run; leaving it as a context closes the files of its log.

    All ranks call it alike, and the first one writes.
    """

    def __init__(
        self, summary: RunSummary, folder: RunFolder, steps: int, reporter: Reporter, ranks: Ranks
    ) -> None:
        """Opens nothing yet.

        Args:
            summary: describes the run.
            folder: where the log and the page go.
            steps: number of steps of the whole run.
            reporter: the console.
            ranks: the processes of the run.

        Raises:
            TensorBoardError: TensorBoard is asked for and not installed.
        """
        self.summary = summary
        self.folder = folder
        self.steps = steps
        self.reporter = reporter
        self.ranks = ranks
        self.log = RunLog(folder.path, summary.options.run_log)
        self.status_speed, self.log_speed = Speedometer(), Speedometer()

    def __enter__(self) -> "RunReporter":
        self.reporter.__enter__()
        self.log.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.log.__exit__(kind, error, trace)
        self.reporter.__exit__(kind, error, trace)

    def open(self, progress: Progress) -> None:
        """Opens the run log and drops what it has of steps to come."""
        # A step is logged as it is evaluated, or else as the next one begins.
        through = progress.step if progress.evaluated else progress.step - 1
        self.ranks.from_first(lambda: self.log.open(through))

    def resume(self, moment: Moment) -> None:
        """Measures speed from where the run goes on."""
        self.status_speed.start(moment)
        self.log_speed.start(moment)

    def describe(self, reason: str, resumed: Moment | None) -> None:
        """Says what is about to be trained, on what, and why open options were chosen as they are."""
        corpus, model, hardware = self.summary.corpus, self.summary.model, self.summary.hardware
        say = self.reporter.say
        for note in corpus.notes:
            say(f"{corpus.texts.name}: {note}")
        say(f"text: {corpus.description()}")
        say(
            f"vocabulary: {corpus.vocabulary.kind}, {corpus.vocabulary.size:,} different tokens, "
            f"{sum(corpus.parts):,} in the text"
        )
        say(f"model: {model.config.description}, {model.parameter_count():,} parameters")
        if reason:
            say(reason)
        say(
            f"hardware: {hardware.device.type} ({hardware.name}), {hardware.precision}, "
            f"{hardware.threads} thread{'s'[: hardware.threads > 1]}"
            f"{f', {hardware.processes} processes' if hardware.processes > 1 else ''}"
        )
        if resumed is not None:
            say(f"resuming at epoch {resumed.epoch:.2f}, step {resumed.step:,}")

    @property
    def characters_per_step(self) -> float:
        """Characters of all rows in a step, on average."""
        return self.summary.batches.tokens_per_step * self.summary.corpus.characters_per_token

    def status_due(self, step: int) -> bool:
        """Returns whether it is time to show the status, after so many steps."""
        return self.reporter.status_due(step)

    def status(self, moment: Moment, training_loss: float | None, progress: Progress) -> Status:
        """Makes the status of the run."""
        last = progress.evaluations[-1]
        return Status(
            share=moment.share,
            epoch=moment.epoch,
            loss=training_loss or last["training_loss"] or last["validation_loss"],
            validation=last["validation_loss"],
            speed=self.status_speed.read(moment) * self.characters_per_step,
            seconds_left=moment.seconds_left,
            step=moment.step,
            steps=self.steps,
        )

    def record(self, moment: Moment, training_loss: float | None, validation_loss: float | None) -> None:
        """Adds a record of this step to the run log.

        Args:
            moment: where the run is.
            training_loss: mean loss since the last record; None before the first step.
            validation_loss: held-out loss of this step; None if it was not measured.

        Raises:
            SaveError: it cannot be written.
        """
        record = {
            "step": moment.step,
            "epoch": moment.epoch,
            "training_loss": training_loss,
            "validation_loss": validation_loss,
            "learning_rate": moment.learning_rate,
            "characters_per_second": self.log_speed.read(moment) * self.characters_per_step or None,
            "seconds": moment.seconds,
        }
        self.ranks.from_first(lambda: self.log.add(record))

    def sample(self, moment: Moment) -> list[tuple[float, str]]:
        """Samples texts by temperature and logs them; none from a model that is not trained yet."""
        if moment.step == 0:
            return []
        run = self.summary
        seed = (run.options.run.seed, moment.step)

        def write() -> list[tuple[float, str]]:
            samples = preview(run.model, run.corpus.vocabulary, run.options.preview, seed)
            if samples:
                self.log.add_samples(moment.step, moment.epoch, samples)
            return samples

        return self.ranks.from_first(write)

    def evaluated(
        self,
        moment: Moment,
        progress: Progress,
        samples: list[tuple[float, str]],
        *,
        best: bool,
    ) -> None:
        """Shows the evaluation of this step, and samples from it."""
        last = progress.evaluations[-1]
        training, validation = last["training_loss"], last["validation_loss"]
        trained = "" if training is None else f"loss {training:.4f}  "
        self.reporter.say(
            f"epoch {moment.epoch:.2f}  {trained}validation {validation:.4f} "
            f"({last['validation_bits_per_character']:.3f} bits a character){'  (best)' if best else ''}"
        )
        self.reporter.samples(samples)
        state = f"{moment.share:.0%} done, about {clock(moment.seconds_left)} left"
        self.show(state, progress)

    def finished(self, moment: Moment, reason: str, best: Checkpoint, progress: Progress) -> None:
        """Says how the run ended."""
        bits = self.summary.corpus.bits_per_character(progress.best_loss, "validation")
        self.reporter.say(
            f"{reason}: {moment.epoch:.2f} epochs in {clock(moment.seconds)}; "
            f"best validation loss {progress.best_loss:.4f} ({bits:.3f} bits a character): "
            f"{self.folder.path / best.name}"
        )
        self.show(reason, progress)

    def tested(self, reason: str, loss: float, progress: Progress) -> None:
        """Says the loss on the test text."""
        bits = self.summary.corpus.bits_per_character(loss, "test")
        self.reporter.say(f"test loss {loss:.4f} ({bits:.3f} bits a character)")
        self.show(reason, progress, loss)

    def show(self, state: str, progress: Progress, test_loss: float | None = None) -> None:
        """Writes the page, which states how the run stands.

        Raises:
            SaveError: it cannot be written.
        """
        name = printable(self.folder.path.resolve().name)
        self.ranks.from_first(lambda: self.log.show(self.summary.facts(name, state, progress, test_loss)))
