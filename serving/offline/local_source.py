"""The source of attempts in this process: bursts of one model, whose rows are refilled as attempts end.

The engine serves requests that differ and clients that read; here all requests are alike but for their
seeds, so a burst is made and taken apart by whole arrays, without a Python object for each row.
"""

import time
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from charloom.burst import Feeds, GraphKind, StateSpec
from charloom.novelty import NoveltyFilter
from charloom.vocabulary import Tokens
from serving.engine.detokenizer import Detokenizer
from serving.engine.executor import Executor
from serving.engine.fresh_states import FreshStates
from serving.engine.host_runner import BurstFunction, HostRunner
from serving.engine.request import Request
from serving.engine.sampled_tokens import SampledTokens
from serving.engine.stop_checker import StopChecker
from serving.model import Model
from serving.offline.attempt import Attempt
from serving.offline.burst_length import BurstLength
from serving.offline.feeds import OfflineFeeds
from serving.offline.running import RunningAttempts

MAX_PENDING = 2**22
"""Tokens of attempts that wait for an earlier one to end, at which no further one begins."""
MIN_ROWS = 32
"""Rows of a group with a thread of its own, at the least; fewer make a product less efficient."""
READ_STEPS = 256
"""Tokens of the prompt that are read in one burst."""


class LocalSource:
    """Runs attempts of a model; implements `AttemptSource`."""

    def __init__(self, model: Model, request: Request, max_batch: int) -> None:
        """Prepares to run attempts.

        Args:
            model: what runs them.
            request: the attempt whose number is 0; the others have its seed plus their number.
            max_batch: B, attempts computed together in one burst.
        """
        self.loaded = model
        self.request = request
        self.batch = max_batch
        self.vocabulary = model.bundle.vocabulary
        self.computed = 0

    @property
    def model(self) -> str:
        """See AttemptSource."""
        return self.loaded.bundle.digest

    @property
    def execution_class(self) -> str:
        """See AttemptSource."""
        return str(self.loaded.executor.execution_class)

    @property
    def can_end(self) -> bool:
        """See AttemptSource."""
        rules, end = self.request.rules, self.vocabulary.end
        if self.request.stop or rules.stop:
            return True
        if end is None or (rules.allowed is not None and not rules.allowed[end]):
            return False
        return not ((rules.biased == end) & (rules.until >= self.request.max_tokens)).any()

    @property
    def delimiter(self) -> str | None:
        """See AttemptSource."""
        return self.loaded.bundle.delimiter

    @property
    def novelty(self) -> NoveltyFilter | None:
        """See AttemptSource."""
        return self.loaded.bundle.novelty

    @property
    def lacks_novelty(self) -> str:
        """See AttemptSource."""
        if self.vocabulary.end is None:
            return "needs records, and this model's training text was continuous"
        return "needs a filter of the training text, which the bundle lacks: charloom export --novelty TEXT"

    def attempts(self, numbers: range) -> Generator[Sequence[Attempt], None, None]:
        """See AttemptSource."""
        groups = self._groups(min(self.batch, len(numbers)))
        running: dict[Future[list[EndedAttempt]], OfflineBursts] = {}
        finished: dict[int, Attempt] = {}
        begun = yielded = pending = 0
        with ThreadPoolExecutor(len(groups), "offline") as pool:
            while yielded < len(numbers):
                for group in groups:
                    if group not in running.values():
                        if pending < MAX_PENDING or begun == yielded:
                            begun += group.start(begun, numbers[begun:])
                        if group.rows.active.any():
                            running[pool.submit(group.run)] = group
                for done in wait(running, return_when=FIRST_COMPLETED).done:
                    self.computed += running.pop(done).computed
                    for ended in done.result():
                        place, number = ended.place, numbers[ended.place]
                        finished[place] = Attempt(number, ended.text, ended.tokens, ended.early)
                        pending += ended.tokens
                ready = []
                while (attempt := finished.pop(yielded, None)) is not None:
                    ready.append(attempt)
                    pending -= attempt.tokens
                    yielded += 1
                if ready:
                    yield ready

    def _groups(self, batch: int) -> "list[OfflineBursts]":
        """Divides the rows among threads that never wait for each other, where one can run a burst alone."""
        executor = self.loaded.executor
        if len(executor.strategies) == 1 or batch < 2 * MIN_ROWS:
            alone = executor.device == "cpu" and executor.threads == 1
            return [OfflineBursts(self.loaded, self.request, executor, batch, alone=alone)]
        threads = min(executor.threads, batch // MIN_ROWS)
        function = OneThread(executor)
        rows = [batch // threads + (index < batch % threads) for index in range(threads)]
        return [OfflineBursts(self.loaded, self.request, function, count, alone=True) for count in rows]


class OneThread:
    """Runs bursts each in the thread that calls it; implements `BurstFunction`."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._alone = next(one for one in executor.strategies if (one.threads, one.shards) == (1, 1))

    @property
    def state(self) -> Sequence[StateSpec]:
        """See BurstFunction."""
        return self._executor.state

    def run(self, kind: GraphKind, feeds: Feeds) -> Feeds:
        """See BurstFunction."""
        return self._executor.run_by(self._alone, kind, feeds)


class EndedAttempt(NamedTuple):
    """An attempt that has just ended."""

    place: int
    """Which of the attempts of its source, from 0."""
    text: str
    tokens: int
    early: bool
    """Whether anything but its full length ended it."""


class OfflineBursts:
    """Runs bursts over rows of attempts that all begin in the state after the same prompt."""

    def __init__(
        self, model: Model, request: Request, function: BurstFunction, batch: int, *, alone: bool
    ) -> None:
        """Reads the prompt.

        Args:
            model: whose texts they are.
            request: the attempt whose number is 0.
            function: runs the bursts.
            batch: rows.
            alone: whether bursts run in the thread that calls `run`, and in no other.

        Raises:
            CharloomError: a burst failed.
        """
        self.request = request
        self.vocabulary = model.bundle.vocabulary
        self.runner = HostRunner(function, batch + 2)
        self.origin = batch
        """The slot with the state after the prompt; the one after it is for fresh states of labels."""
        self.feeds = OfflineFeeds(request, self.vocabulary)
        self.rows = RunningAttempts(batch, request, self.vocabulary.start, self.feeds.window)
        self.length = BurstLength()
        self.computed = 0
        """Tokens that the last burst computed."""
        self._ends = np.zeros(self.vocabulary.size, np.bool_)  # [V]
        self._ends[list(request.rules.stop)] = True
        if self.vocabulary.end is not None:
            self._ends[self.vocabulary.end] = True
        self._texts: dict[int, PartialAttempt] = {}
        """What each row has so far, where stop strings may end it."""
        # A thread's own time, if all is done in it, is the same whatever else the machine does.
        self._clock = time.thread_time if alone else time.perf_counter
        self._refilling = 0.0
        """Seconds of the last refilling."""
        self._read_prompt()

    def start(self, place: int, numbers: range) -> int:
        """Begins attempts in the free rows, the first at this place, and returns how many."""
        began = self._clock()
        numbers = numbers[: len(self.rows.free)]
        if not len(numbers):
            return 0
        places = np.arange(place, place + len(numbers))
        rows = self.rows.start(places, np.arange(numbers.start, numbers.stop, numbers.step))
        self.runner.spread(self.origin, rows.tolist())
        if self.request.stop:
            self._texts |= {row: PartialAttempt(self._detokenizer()) for row in rows.tolist()}
        self._refilling = self._clock() - began
        return len(numbers)

    def run(self) -> list[EndedAttempt]:
        """Runs one burst, and returns the attempts that ended.

        Raises:
            CharloomError: the burst failed.
        """
        began = self._clock() - self._refilling
        self._refilling = 0.0
        rows = np.flatnonzero(self.rows.active)
        generated = self.rows.generated[rows]
        left = self.request.max_tokens - generated
        steps = self.length.choose(generated, left)
        feeds = self.feeds.make(
            steps, self.rows.seeds[rows], self.rows.last[rows], generated, self.rows.recent[rows]
        )
        outputs = self.runner.run(self.feeds.kind(generated), feeds, rows.tolist())
        chosen = outputs["chosen"].T  # [B, K]
        self.computed = chosen.size
        self.rows.advance(rows, chosen)
        find = self._by_strings if self.request.stop else self._by_tokens
        ended = find(rows, chosen, left)
        self.length.record(steps, self._clock() - began)
        return ended

    def _by_tokens(self, rows: Tokens, chosen: Tokens, left: Tokens) -> list[EndedAttempt]:
        """Finds the ends that single tokens make."""
        steps = chosen.shape[1]
        ends = self._ends[chosen] & (np.arange(steps) < left[:, None])  # [B, K]
        ended: npt.NDArray[np.bool_] = np.any(ends, axis=1)
        done = np.flatnonzero(ended | (left <= steps))
        if not len(done):
            return []
        taken = np.where(ended, ends.argmax(1) + 1, np.minimum(left, steps))[done]
        of_row = self.rows.generated[rows[done]] - steps + taken
        self.length.ended(of_row)
        kept = of_row - ended[done]
        tokens = self.rows.tokens
        texts = self._decode([tokens[row, :n] for row, n in zip(rows[done], kept.tolist(), strict=True)])
        places = self.rows.place[rows[done]].tolist()
        self.rows.release(rows[done])
        return list(map(EndedAttempt, places, texts, of_row.tolist(), ended[done].tolist()))

    def _by_strings(self, rows: Tokens, chosen: Tokens, left: Tokens) -> list[EndedAttempt]:
        """Finds the ends that stop strings make, or tokens, row by row."""
        found = []
        for row, tokens, most in zip(rows.tolist(), chosen, left.tolist(), strict=True):
            text = self._texts[row]
            if text.put(tokens[:most], final=most <= len(tokens)):
                self.length.ended(np.array([text.tokens]))
                place = int(self.rows.place[row])
                found.append(EndedAttempt(place, text.text, text.tokens, text.ended))
                self.rows.release(np.array([row]))
        return found

    def _decode(self, tokens: list[Tokens]) -> list[str]:
        """The texts of several attempts; of one character a token in one go."""
        if self.vocabulary.tokens_per_character == 1:
            whole = self.vocabulary.decode(np.concatenate(tokens))
            ends = np.cumsum([len(one) for one in tokens]).tolist()
            return [whole[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
        context = self.request.context
        return ["".join(self.vocabulary.decoder(context).put(one)) for one in tokens]

    def _detokenizer(self) -> Detokenizer:
        """What finds the stop strings of one attempt."""
        request = self.request
        stops = StopChecker(request.stop, request.rules.stop, self.vocabulary.end)
        return Detokenizer(self.vocabulary.decoder(request.context), stops, request.min_tokens)

    def _read_prompt(self) -> None:
        """Sets the slot from which attempts begin."""
        start = self.vocabulary.start
        FreshStates(self.runner, self.origin + 1, start).set(self.origin, self.request.labels)
        fed = np.concatenate([[start], self.request.prompt])
        for begin in range(0, len(self.request.prompt), READ_STEPS):
            forced = fed[begin + 1 : begin + 1 + READ_STEPS, None]
            self.runner.run("read", {"last": fed[begin : begin + 1], "forced": forced}, [self.origin])


class PartialAttempt:
    """The text of an attempt that stop strings may end."""

    def __init__(self, detokenizer: Detokenizer) -> None:
        self._detokenizer = detokenizer
        self._texts: list[str] = []
        self.tokens = 0
        self.ended = False

    @property
    def text(self) -> str:
        """What is certain so far."""
        return "".join(self._texts)

    def put(self, tokens: Tokens, *, final: bool) -> bool:
        """Takes new tokens [T], and returns whether the attempt is complete."""
        unknown = np.full(len(tokens), np.nan, np.float32)
        none = np.empty((len(tokens), 0))
        released = self._detokenizer.put(SampledTokens(tokens, unknown, none, none), final=final)  # type: ignore[arg-type]
        self._texts += released.texts
        self.ended = released.stopped or released.end is not None
        self.tokens += len(released.sampled) + (released.end is not None)
        return self.ended or final
