"""The options of training itself: what is dropped, how weights learn, how long, and on what."""

from dataclasses import asdict, dataclass
from typing import Annotated, Literal

from msgspec import Meta

from charloom.ranges import FINITE, check_ranges
from networks.config import DropoutRates

OptimizerName = Literal["adamw", "muon", "rmsprop"]
Clip = Literal["norm", "value"]
RateSchedule = Literal["cosine", "linear", "epochs"]
DeviceName = Literal["auto", "cpu", "cuda"]
PrecisionName = Literal["auto", "float32", "bfloat16"]

Rate = Annotated[float, Meta(ge=0, lt=1)]


@dataclass(frozen=True)
class RegularisationConfig:
    """What to drop while training, so that the model cannot learn the text by heart.

    A rate that is left open counts as 0 until `training/defaults.py` settles it.
    """

    dropout: Rate | None = None
    """Share of each layer's outputs to drop on the way to the next layer. Alone, it also holds for what
    the first layer gets and the last one gives, and nothing else is dropped; without it, all five rates
    follow from the sizes of the text and of the model."""
    input_dropout: Rate | None = None
    """Share of the first layer's inputs to drop."""
    output_dropout: Rate | None = None
    """Share of the last layer's outputs to drop."""
    token_dropout: Rate | None = None
    """Share of the different tokens that are not seen at all in a step."""
    weight_dropout: Rate | None = None
    """Share of the weights from a layer's state to its next state to drop."""

    def __post_init__(self) -> None:
        check_ranges(self)

    @property
    def rates(self) -> DropoutRates:
        """The rates as a network takes them."""
        return DropoutRates(**{name: rate or 0.0 for name, rate in asdict(self).items()})


@dataclass(frozen=True)
class OptimizerConfig:
    """How the weights learn."""

    optimizer: OptimizerName = "adamw"
    """Optimiser of the weights; muon is Muon for the matrices within the network, and AdamW for the rest."""
    learning_rate: Annotated[float, Meta(gt=0, le=FINITE)] = 3e-3
    """Highest learning rate."""
    weight_decay: Annotated[float, Meta(ge=0)] = 0.01
    """AdamW's decoupled weight decay; biases do not decay."""
    hidden_rate: Annotated[float, Meta(gt=0, le=FINITE)] = 0.04
    """Highest learning rate of the matrices that Muon trains; it rises and falls with the other."""
    hidden_decay: Annotated[float, Meta(ge=0)] = 0.1
    """Muon's decoupled weight decay."""
    alpha: Annotated[float, Meta(ge=0, lt=1)] = 0.95
    """RMSprop's smoothing of squared gradients."""
    clip: Annotated[float, Meta(ge=0)] = 1.0
    """Largest gradient, by the measure of --clip-by; 0 sets no limit."""
    clip_by: Clip = "norm"
    """What --clip limits: the norm of the whole gradient, or the value of each element."""
    schedule: RateSchedule = "cosine"
    """How the learning rate falls: along a cosine or a line, by epochs or by minutes, whichever is
    further; or epochs, by a factor an epoch."""
    warmup: Annotated[int, Meta(ge=0)] = 50
    """Steps in which the learning rate of a cosine or a line rises."""
    decay: Annotated[float, Meta(gt=0, le=1)] = 0.97
    """Factor by which the learning rate falls in an epoch, with --schedule epochs."""
    decay_after: Annotated[int, Meta(ge=0)] = 10
    """Epochs before the learning rate begins to fall, with --schedule epochs."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class RunConfig:
    """How long to train, and what to keep."""

    epochs: Annotated[float, Meta(ge=0, le=1e9)] = 0
    """Times to read the training text; 0 takes as many as make 15 million tokens, at most 100."""
    max_minutes: Annotated[float, Meta(ge=0)] = 0
    """Minutes after which to end, with a learning rate that falls in time for it; 0 sets no limit."""
    evaluate_every: Annotated[int, Meta(ge=0)] = 0
    """Steps between evaluations on the held-out text; 0 takes an epoch or a tenth of the run, but at
    least 250, and more for a long held-out text."""
    patience: Annotated[int, Meta(ge=0)] = 10
    """Evaluations without a better loss after which to end; 0 sets no limit."""
    save_minutes: Annotated[float, Meta(gt=0)] = 5
    """Minutes after which to save where no evaluation has."""
    keep: Annotated[int, Meta(ge=0)] = 3
    """Checkpoints to keep beside the best and the last."""
    seed: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 1
    """Seed of everything random."""

    def __post_init__(self) -> None:
        check_ranges(self)


@dataclass(frozen=True)
class HardwareConfig:
    """What to train on."""

    device: DeviceName = "auto"
    """Device to train on; auto takes a GPU where there is one."""
    precision: PrecisionName = "auto"
    """Precision of the products; auto takes bfloat16 if the hardware computes in it. Weights, sums and
    losses are always float32."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """CPU threads of a process, at most one for each core; 0 takes one fewer than the cores of its
    share, from 1 to 8."""

    def __post_init__(self) -> None:
        check_ranges(self)
