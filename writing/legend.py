"""The line of keys, in as many lines as it takes; none is parted from what it does."""

from textual import events
from textual.content import Content
from textual.widgets import Static

from writing.keys import KEYS

GAP = "   "
ENTRIES = (("1-9", "pick"), *((key.label, key.word) for key in KEYS if key.label))


class Legend(Static):
    """The keys and what they do."""

    def on_resize(self, _: events.Resize) -> None:
        """Lays it out for a width."""
        self.update(Content("\n").join(Content(GAP).join(line) for line in lines(self.content_size.width)))


def lines(width: int) -> list[list[Content]]:
    """The entries in lines of at most a width."""
    laid: list[list[Content]] = [[]]
    used = 0
    for label, word in ENTRIES:
        entry = Content.assemble((label, "bold"), (f" {word}", "$text-muted"))
        used += len(GAP) + entry.cell_length
        if laid[-1] and used - len(GAP) > width:
            laid.append([])
            used = len(GAP) + entry.cell_length
        laid[-1].append(entry)
    return laid
