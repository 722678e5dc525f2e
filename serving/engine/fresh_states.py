"""Fresh states: the state in which the records of some labels begin, computed when it is first needed."""

from collections import OrderedDict

import numpy as np

from serving.engine.runner import Runner
from serving.engine.snapshot import Labels, State

MAX_STATES = 1024
"""Combinations of labels whose states are kept; those used last."""


class FreshStates:
    """The fresh state of each combination of labels: that after the labels' tokens alone.

    A slot of the runner is needed to compute one. A burst of its own does that, so that the state is the same
    to the bit whatever else runs, and no position of a stream counts the labels.
    """

    def __init__(self, runner: Runner, scratch: int, start: int) -> None:
        """Takes a slot that belongs to no stream, and the start token, which comes after the labels."""
        self._runner = runner
        self._scratch = scratch
        self._start = start
        self._states: OrderedDict[Labels, State] = OrderedDict()

    def set(self, slot: int, labels: Labels) -> None:
        """Sets a slot to the fresh state of these labels.

        Raises:
            CharloomError: it could not be computed.
        """
        if not labels:
            self._runner.reset(slot)
            return
        if labels not in self._states:
            self._states[labels] = self._computed(labels)
        self._states.move_to_end(labels)
        if len(self._states) > MAX_STATES:
            self._states.popitem(last=False)
        self._runner.restore(slot, self._states[labels])

    def _computed(self, labels: Labels) -> State:
        self._runner.reset(self._scratch)
        first, *others = labels
        # A burst feeds the token before each that it chooses: the start token is chosen, and not fed yet.
        forced = np.array([*others, self._start])[:, None]
        self._runner.run("read", {"last": np.array([first]), "forced": forced}, [self._scratch])
        return self._runner.snapshot(self._scratch)
