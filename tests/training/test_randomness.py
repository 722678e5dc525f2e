"""Random numbers of steps: other ones in every step, and the same ones whenever a step is taken again."""

from collections.abc import Callable
from pathlib import Path

from training.options import Options
from training.trainer import Trainer


def test_each_step_draws_numbers_of_its_own(
    options: Options, make_trainer: Callable[..., Trainer], tmp_path: Path
) -> None:
    trainer = make_trainer(options, tmp_path / "run")
    seeds: list[tuple[int, int]] = []
    random = trainer.randomness
    trainer.network.register_forward_pre_hook(
        lambda *_: seeds.append((random.shared.initial_seed(), random.own.initial_seed()))
    )
    for _ in range(3):
        trainer.step()
    assert len({seed for pair in seeds for seed in pair}) == 6
    trainer.progress.step = 1
    trainer.step()
    assert seeds[3] == seeds[1]
