"""What is asked is of every kind, usable, and the same for the same seed."""

from pathlib import Path

from chaos.asks import LENGTHS, LONGEST_PROMPT, Asks
from charloom.options import GenerateOptions, check


def test_asks_are_many_kinds_all_usable_and_repeatable() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    asks = [Asks(1, ["a", "b"], text)[i] for i in range(300)]
    assert asks == [Asks(1, ["a", "b"], text)[i] for i in range(300)]
    assert asks != [Asks(2, ["a", "b"], text)[i] for i in range(300)]
    for ask in asks:
        check(GenerateOptions(**ask.options), ask.n)
        assert LENGTHS[0] <= ask.options["max_tokens"] <= LENGTHS[1]
        assert len(ask.prompt) <= LONGEST_PROMPT
    assert {ask.model for ask in asks} == {"a", "b"}
    assert {ask.n for ask in asks} == {1, 2, 3}
    assert 100 < sum(ask.state_interval > 0 for ask in asks) < 200
    assert any("stop" in ask.options for ask in asks)
    assert any("top_k" in ask.options for ask in asks)
