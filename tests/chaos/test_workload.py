"""The workload is of every kind, usable, and the same for the same seed."""

from pathlib import Path

from chaos.workload import LENGTHS, LONGEST_PROMPT, Workload
from charloom.options import GenerateOptions, check

MODELS = {"a": (), "b": ("red", "blue")}


def test_requests_are_many_kinds_all_usable_and_repeatable() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    requests = [Workload(1, MODELS, text)[i] for i in range(300)]
    assert requests == [Workload(1, MODELS, text)[i] for i in range(300)]
    assert requests != [Workload(2, MODELS, text)[i] for i in range(300)]
    for request in requests:
        check(GenerateOptions(**request.options), request.n)
        assert LENGTHS[0] <= request.options["max_tokens"] <= LENGTHS[1]
        assert len(request.prompt) <= LONGEST_PROMPT
    assert {request.model for request in requests} == {"a", "b"}
    assert {request.labels for request in requests if request.model == "a"} == {()}
    assert {request.labels for request in requests if request.model == "b"} == {("red",), ("blue",)}
    assert {request.options.get("ignore_end") for request in requests} == {None, False, True}
    assert {request.n for request in requests} == {1, 2, 3}
    assert 100 < sum(request.state_interval > 0 for request in requests) < 200
    assert any("stop" in request.options for request in requests)
    assert any("top_k" in request.options for request in requests)
