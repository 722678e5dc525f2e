import pytest

from networks.recurrent.config import RecurrentConfig
from training.reporting.advice import Measurement, advice

CONFIG = RecurrentConfig(cells=256, layers=2)


def measured(*losses):
    return [Measurement(epoch + 1.0, *pair) for epoch, pair in enumerate(losses)]


FALL = [(3.0, 2.9), (2.0, 2.1)]
"""How any run begins."""


@pytest.mark.parametrize(
    ("losses", "finding", "words"),
    [
        ([], "Too early to say", ""),
        (FALL, "Too early to say", ""),
        # It was best in the middle and has risen since.
        ([*FALL, (1.4, 1.50), (1.2, 1.53), (1.0, 1.60)], "Overfitting", "epoch 3.00, 1.500"),
        # It rises, and already the best was far from the training loss.
        ([*FALL, (1.0, 1.50), (1.0, 1.501), (1.0, 1.502)], "Overfitting", "33% below"),
        ([*FALL, (1.52, 1.502), (1.51, 1.500)], "Underfitting", "--cells 512"),
        ([*FALL, (1.7, 1.502), (1.7, 1.500)], "Underfitting", "lies above the validation loss"),
        ([*FALL, (1.7, 1.72), (1.5, 1.51)], "Still learning", "--epochs"),
        ([*FALL, (1.42, 1.502), (1.42, 1.500)], "Well balanced", "a little below"),
        ([*FALL, (1.6, 1.70), (1.5, 1.60)], "Still learning", "--epochs"),
    ],
)
def test_findings(losses, finding, words):
    found = advice(measured(*losses), CONFIG, 0.2)
    assert found.finding == finding
    assert words in " ".join(found.reasons)


def test_what_is_suggested_can_be_done():
    overfit = measured(*FALL, (1.0, 1.5), (0.9, 1.49))
    assert "the highest is 0.2" in " ".join(advice(overfit, CONFIG, 0.2).reasons)
    assert "more dropout" not in " ".join(advice(overfit, CONFIG, 0.6).reasons)
    underfit = measured(*FALL, (1.502, 1.502), (1.50, 1.50))
    assert "less dropout (the highest rate is 0.2)" in " ".join(advice(underfit, CONFIG, 0.2).reasons)
    assert "less dropout" not in " ".join(advice(underfit, CONFIG, 0.0).reasons)


def test_a_loss_of_nothing_divides_nothing():
    assert advice(measured((0.0, 0.0), (0.0, 0.0), (0.0, 0.0)), CONFIG, 0.0).finding == "Underfitting"
