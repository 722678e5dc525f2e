"""The metrics of a server, scraped as Prometheus does."""

import urllib.request
from collections.abc import Iterable

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def scrape(url: str) -> list[Sample]:
    """All samples of this moment."""
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310
        families = text_string_to_metric_families(response.read().decode())
        return [sample for family in families for sample in family.samples]


def total(samples: Iterable[Sample], name: str, **labels: str) -> float:
    """The sum of the samples of a metric that have these labels, whatever others; 0 if there are none."""
    return sum(one.value for one in samples if one.name == name and labels.items() <= one.labels.items())
