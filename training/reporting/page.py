"""The page of a run: report.html, all that a person wants to know of it in one file.

It is complete in itself: it has no script, loads nothing, and escapes whatever the text holds. `page.html`
beside it is its template.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from charloom import plot
from charloom.plot import Curve, Panel, Point
from charloom.printable import printable
from networks.config import NetworkConfig
from training.reporting.advice import Measurement, advice
from training.reporting.frequency import Frequency
from training.reporting.json_lines import Record
from training.reporting.reporter import clock

TEMPLATE = "page.html"
MOST_SAMPLES = 12
"""Evaluations whose samples are shown, evenly spread over the run."""
WIDEST = 9.0
"""Width of the bar of the most frequent token."""


@dataclass(frozen=True)
class Facts:
    """What the page states of a run beside its log."""

    name: str
    state: str
    """Whether the run goes on, and how it ended if not."""
    model: NetworkConfig
    options: Mapping[str, Mapping[str, Any]]
    """By group."""
    defaults: Mapping[str, Mapping[str, Any]]
    summary: dict[str, Any]
    """As a checkpoint has it."""
    frequent: Sequence[Frequency]
    """The most frequent tokens of the training text."""
    evaluations: Sequence[Record]
    test_loss: float | None = None
    test_bits_per_character: float | None = None


class Page:
    """Renders pages from the template."""

    def __init__(self) -> None:
        self.template = Environment(
            loader=FileSystemLoader(Path(__file__).parent),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        ).get_template(TEMPLATE)

    def render(
        self, facts: Facts, metrics: Sequence[Record], samples: Sequence[Record], now: datetime
    ) -> str:
        """Renders the page of one run.

        Args:
            facts: what the log does not have.
            metrics: records of the run log.
            samples: samples of the run log.
            now: the time that the page states.
        """
        measured = [
            Measurement(one["epoch"], one["training_loss"], one["validation_loss"])
            for one in facts.evaluations
            if one["training_loss"] is not None
        ]
        # Plots are ours, and escape what they are given; everything else is escaped as it is put in.
        return self.template.render(
            name=facts.name,
            state=facts.state,
            now=now.astimezone().strftime("%Y-%m-%d %H:%M %Z"),
            plot_style=Markup(plot.STYLE),  # noqa: S704
            facts=list(key_figures(facts, metrics)),
            advice=advice(
                measured, facts.model, max(rate or 0.0 for rate in facts.options["regularisation"].values())
            ),
            losses=Markup(losses(metrics)),  # noqa: S704
            course=Markup(course(metrics)),  # noqa: S704
            samples=[as_shown(sample) for sample in selected(samples)],
            text=list(text_figures(facts)),
            frequent=[as_bar(one, facts.frequent[0].share) for one in facts.frequent],
            options=list(groups(facts.options, facts.defaults)),
            hardware=list(facts.summary["hardware"].items()),
        )


def key_figures(facts: Facts, metrics: Sequence[Record]) -> Iterator[tuple[str, str]]:
    """Lists the figures at the top of the page, by label."""
    summary = facts.summary
    best = summary["best_validation_loss"]
    yield "best validation loss, nats a token", f"{best:.4f}"
    yield "in bits a character", f"{summary['best_validation_bits_per_character']:.3f}"
    if facts.test_loss is not None:
        yield "test loss, nats a token", f"{facts.test_loss:.4f}"
        yield "test loss in bits a character", f"{facts.test_bits_per_character:.3f}"
    if summary["training_loss"] is not None:
        yield "training loss", f"{summary['training_loss']:.4f}"
    yield "epochs", f"{summary['epoch']:.2f}"
    yield "steps", f"{summary['steps']:,}"
    yield "parameters", f"{summary['parameters']:,}"
    if speeds := points(metrics, "characters_per_second"):
        yield "characters a second", f"{speeds[-1][1]:,.0f}"
    yield "time", clock(summary["seconds"])


def points(records: Sequence[Record], name: str) -> list[Point]:
    """Lists the values of a field over epochs, where records have them."""
    return [(one["epoch"], one[name]) for one in records if one[name] is not None]


def losses(metrics: Sequence[Record]) -> str:
    """Plots both losses, without that of the untrained model, which would flatten the rest."""
    trained = [one for one in metrics if one["step"]]
    return plot.figure("training and validation loss", [loss_panel(trained)], "epoch")


def loss_panel(records: Sequence[Record]) -> Panel:
    """Makes the panel of training and validation loss over epochs."""
    curves = [Curve(name, points(records, f"{name}_loss")) for name in ("training", "validation")]
    return Panel(curves, from_zero=False, height=280)


def course(metrics: Sequence[Record]) -> str:
    """Plots learning rate and speed."""
    panels = [
        Panel([Curve("learning rate", points(metrics, "learning_rate"))], height=100),
        Panel([Curve("characters/s", points(metrics, "characters_per_second"))], height=100),
    ]
    return plot.figure("learning rate and speed", panels, "epoch")


def selected(samples: Sequence[Record]) -> Sequence[Record]:
    """Selects at most MOST_SAMPLES evaluations, evenly spread, the newest first."""
    if len(samples) <= MOST_SAMPLES:
        return samples[::-1]
    last = len(samples) - 1
    return [samples[round(last * i / (MOST_SAMPLES - 1))] for i in range(MOST_SAMPLES)][::-1]


def as_shown(sample: Record) -> dict[str, Any]:
    """Formats the samples of an evaluation."""
    texts = [(f"{one['temperature']:g}", printable(one["text"], keep="\n\t")) for one in sample["samples"]]
    return {"epoch": f"{sample['epoch']:.2f}", "texts": texts}


def text_figures(facts: Facts) -> Iterator[tuple[str, str]]:
    """Lists the figures of the text, by label."""
    text = facts.summary["text"]
    yield "name", text["name"]
    for label, key in (
        ("characters", "characters"),
        ("to train on", "train"),
        ("to validate on", "validation"),
        ("to test on", "test"),
    ):
        yield label, f"{text[key]:,}"
    yield "tokens to train on", f"{text['tokens']['train']:,}"
    yield "different tokens", f"{facts.summary['vocabulary_size']:,}"
    yield "a parameter has", f"{text['train'] / facts.summary['parameters']:.2g} characters to learn from"
    yield "read so far", f"{facts.summary['characters_seen']:,} characters"


def as_bar(frequency: Frequency, largest: float) -> dict[str, str]:
    """Formats a token's share as a number and the width of a bar."""
    share = f"{frequency.share:.1%}"
    return {
        "name": frequency.name,
        "share": share,
        "width": f"{WIDEST * frequency.share / largest:.2f}",
    }


def groups(
    options: Mapping[str, Mapping[str, Any]], defaults: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Lists all options by group, each with whether it differs from its default."""
    for group, values in options.items():
        shown = [
            {
                "name": name.replace("_", "-"),
                "value": formatted(value),
                "changed": value != defaults[group][name],
            }
            for name, value in values.items()
        ]
        yield group, shown


def formatted(value: object) -> str:
    """Formats an option's value as the command line takes it."""
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return str(value)
