"""The inputs of offline bursts: every row has the same options, so that all but a few are constants."""

import numpy as np
import numpy.typing as npt

from charloom.burst import INPUTS, Feeds, GraphKind, neutral
from charloom.philox import uniforms
from charloom.vocabulary import Tokens, Vocabulary
from serving.engine.batch import NUMBERS
from serving.engine.request import Request


class OfflineFeeds:
    """Makes the feeds of bursts for attempts of one request."""

    def __init__(self, request: Request, vocabulary: Vocabulary) -> None:
        self.request = request
        self.vocabulary = vocabulary
        self.start = len(request.prompt)
        """Position of the first generated token."""
        self.temperature = np.array(request.sampling.temperature, np.float32)

    @property
    def window(self) -> int:
        """W: recent tokens that penalties see; 0 without any."""
        sampling = self.request.sampling
        return sampling.penalty_window if sampling.penalises else 0

    def kind(self, generated: Tokens) -> GraphKind:
        """The graph for rows that have generated so many tokens [B]."""
        return "full" if int(generated.min()) < self.request.filtered_until else "plain"

    def make(
        self, steps: int, seeds: npt.NDArray[np.uint64], last: Tokens, generated: Tokens, recent: Tokens
    ) -> Feeds:
        """Returns all inputs but the state.

        Args:
            steps: K.
            seeds: uint64 [B].
            last: the token that each row feeds first [B].
            generated: tokens that each has generated [B].
            recent: the tokens that penalties see, newest last, -1 where there is none [B, W].
        """
        kind, rules = self.kind(generated), self.request.rules
        sizes = {"B": len(last), "K": steps, "V": self.vocabulary.size}
        feeds = neutral(INPUTS[kind], **sizes, W=max(1, self.window), N=max(1, len(rules.biased)))
        positions = self.start + generated
        feeds["last"][:] = last
        feeds["uniform"] = uniforms(seeds, positions, steps)
        if len(self.temperature) == 1:
            feeds["temperature"][:] = self.temperature
        else:
            turns = (generated + np.arange(steps)[:, None]) % len(self.temperature)  # [K, B]
            feeds["temperature"] = self.temperature[turns]
        if kind == "full":
            feeds["steps"][:] = (self.request.max_tokens - generated).clip(max=steps)
            feeds["position"][:] = positions
            feeds["generation_start"][:] = self.start
            self._fill_rules(feeds, recent)
        return feeds

    def _fill_rules(self, feeds: Feeds, recent: Tokens) -> None:
        """Fills what only the full graph takes, the same for all rows but the recent tokens."""
        sampling, rules = self.request.sampling, self.request.rules
        for name in NUMBERS:
            feeds[name][:] = getattr(sampling, name)
        if self.window:
            feeds["window"][:] = self.window
            feeds["recent"][:] = recent
        if len(rules.biased):
            feeds["bias_token"][:] = rules.biased
            feeds["bias_value"][:] = rules.bias
            feeds["bias_until"][:] = rules.until
        if rules.allowed is not None:
            feeds["allowed"][:] = rules.allowed
