import io

import pytest
import torch
from rich.console import Console

from charloom.errors import ConfigError
from charloom.vocabulary import CharacterVocabulary, SpecialTokens
from networks.recurrent.config import RecurrentConfig
from networks.recurrent.model import RecurrentModel
from training.reporting.preview import PreviewConfig, preview
from training.reporting.reporter import Reporter, Status, clock, quoted

STATUS = Status(0.25, 1.5, 2.0, 1.9, 12_345.6, 75, step=300, steps=1200)


def test_previews_are_bounded_repeatable_and_leave_the_random_numbers_alone():
    vocabulary = CharacterVocabulary("ab\n[red]é🧵")
    model = RecurrentModel(RecurrentConfig(cells=8), vocabulary.inputs, vocabulary.size)
    before = torch.get_rng_state()
    config = PreviewConfig((0.0, 0.7), 30)
    samples = preview(model, vocabulary, config, (1, 2))
    assert [(t, len(text)) for t, text in samples] == [(0.0, 30), (0.7, 30)]
    assert samples == preview(model, vocabulary, config, (1, 2))
    assert samples != preview(model, vocabulary, config, (1, 3))
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert preview(model, vocabulary, PreviewConfig((), 30), (1,)) == []
    assert preview(model, vocabulary, PreviewConfig((1.0,), 0), (1,)) == []


def test_a_sample_ends_with_its_record_and_holds_no_unknown_token():
    vocabulary = CharacterVocabulary("ab", SpecialTokens(end=True, unknown=True))
    model = RecurrentModel(RecurrentConfig(cells=8), vocabulary.inputs, vocabulary.size)
    with torch.no_grad():
        model.output.bias[vocabulary.unknown] += 50
    samples = preview(model, vocabulary, PreviewConfig((1.0,) * 20, 30), (1,))
    assert not any("\ufffd" in text for _, text in samples)
    assert {len(text) for _, text in samples} - {30}
    assert any(text == "" for _, text in samples)


def test_a_terminal_gets_a_bar_and_samples_as_they_are():
    out = io.StringIO()
    with Reporter(Console(file=out, force_terminal=True, width=120)) as reporter:
        reporter.status(STATUS)
        reporter.samples([(0.5, "a [b]bold[/b]\x1b[2Jend")])
    assert "validation 1.9000" in out.getvalue()
    assert r"a [b]bold[/b]\x1b[2Jend" in out.getvalue()


def test_a_log_gets_lines_without_escapes(capsys):
    with Reporter(Console(file=io.StringIO())) as reporter:
        reporter.status(STATUS)
        reporter.samples([(0.5, "one\ntwo\x1b")])
    assert capsys.readouterr().err.splitlines() == [
        " 25%  epoch 1.50  loss 2.0000  validation 1.9000  12,346 characters/s  1:15 left",
        "      at 0.5: 'one\\ntwo\\x1b'",
    ]


def test_what_the_run_waits_for_is_said_when_it_is_time(capsys):
    screen = io.StringIO()
    log, bar = Reporter(Console(file=io.StringIO())), Reporter(Console(file=screen, force_terminal=True))
    log.busy("validating", 0.1)
    log.next = bar.next = 0
    log.busy("validating", 0.25)
    log.busy("validating", 0.3)
    with bar:
        bar.busy("validating", 0.5)
    assert capsys.readouterr().err == "validating  25%\n"
    assert "validating  50%" in screen.getvalue()


def test_durations_and_texts_as_people_read_them():
    assert [clock(s) for s in (0, 59.6, 3661)] == ["0:00", "1:00", "1:01:01"]
    assert quoted("é🧵\\\n\t\x1b") == r"'é🧵\\\n\t\x1b'"


@pytest.mark.parametrize("temperature", [-1.0, float("inf"), float("nan")])
def test_a_temperature_that_is_none_is_refused(temperature):
    with pytest.raises(ConfigError, match="preview_temperatures"):
        PreviewConfig((1.0, temperature))
