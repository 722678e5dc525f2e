import pytest
import torch

from networks.dropout import drop_tokens, drop_units, drop_weights


def values(x):
    return x.unique().tolist()


def test_units_are_dropped_for_a_whole_chunk_and_each_lane_has_its_own():
    torch.manual_seed(0)
    x = drop_units(torch.ones(7, 50, 40), 0.25)
    assert values(x) == pytest.approx([0, 1 / 0.75])
    assert (x == x[:1]).all()
    assert (x[0] == 0).float().mean().item() == pytest.approx(0.25, abs=0.03)
    assert not torch.equal(x[0, 0], x[0, 1])


def test_tokens_are_dropped_wherever_they_are_fed():
    torch.manual_seed(0)
    tokens = torch.randint(0, 500, (60, 30))
    x = drop_tokens(torch.ones(60, 30, 3), tokens, 500, 0.4)
    assert values(x) == pytest.approx([0, 1 / 0.6])
    for token in range(500):
        assert len(values(x[tokens == token])) <= 1
    kept = {int(t) for t in tokens[x[:, :, 0] > 0]}
    assert 1 - len(kept) / len(tokens.unique()) == pytest.approx(0.4, abs=0.07)


def test_weights_are_dropped_one_by_one_and_their_mean_stays():
    torch.manual_seed(0)
    weight = drop_weights(torch.ones(300, 200), 0.5)
    assert values(weight) == [0, 2]
    assert weight.mean().item() == pytest.approx(1, abs=0.02)


def test_every_step_drops_others():
    torch.manual_seed(0)
    x, tokens = torch.ones(2, 9, 8), torch.arange(18).reshape(2, 9)
    for drop in (
        lambda: drop_units(x, 0.5),
        lambda: drop_tokens(x, tokens, 18, 0.5),
        lambda: drop_weights(x, 0.5),
    ):
        assert not torch.equal(drop(), drop())


def test_at_a_rate_of_0_nothing_is_drawn():
    x, tokens = torch.randn(2, 3, 4), torch.zeros(2, 3, dtype=torch.long)
    before = torch.get_rng_state()
    assert drop_units(x, 0) is x
    assert drop_tokens(x, tokens, 5, 0) is x
    assert drop_weights(x, 0) is x
    assert torch.equal(torch.get_rng_state(), before)


def test_masks_have_the_type_of_what_they_drop():
    x = torch.ones(2, 3, 4, dtype=torch.bfloat16)
    assert drop_units(x, 0.5).dtype == torch.bfloat16
