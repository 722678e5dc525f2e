import torch
from torch import nn

from training.muon import Muon, orthogonalised


def test_singular_values_come_near_one_and_vectors_stay() -> None:
    torch.manual_seed(0)
    matrices = torch.randn(3, 24, 40)
    result = orthogonalised(matrices, torch.float32)
    left, _, right = torch.linalg.svd(matrices, full_matrices=False)
    values = left.mT @ result @ right.mT  # [N, R, R]
    diagonal = values.diagonal(dim1=1, dim2=2)
    assert diagonal.min() > 0.6
    assert diagonal.max() < 1.3
    torch.testing.assert_close(values, torch.diag_embed(diagonal), atol=1e-4, rtol=0)


def test_a_tall_matrix_is_treated_as_its_transpose() -> None:
    matrix = torch.randn(1, 40, 24)
    tall, wide = orthogonalised(matrix, torch.float32), orthogonalised(matrix.mT, torch.float32)
    torch.testing.assert_close(tall, wide.mT)


def test_no_gradient_gives_no_step() -> None:
    assert torch.equal(orthogonalised(torch.zeros(1, 3, 4), torch.float32), torch.zeros(1, 3, 4))


def test_each_matrix_of_a_stack_is_treated_by_itself() -> None:
    """Whatever the size of the gradient of one gate, the steps of the others stay the same."""

    def stepped(scale: float) -> torch.Tensor:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.zeros(8, 4))
        weight.grad = torch.randn(8, 4)
        weight.grad[:4] *= scale
        Muon([(weight, 2)], lr=0.1, weight_decay=0).step()
        return weight.detach()

    torch.testing.assert_close(stepped(1)[4:], stepped(1000)[4:])
    torch.testing.assert_close(stepped(1), stepped(1000))


def test_matrices_of_one_shape_are_treated_as_if_alone() -> None:
    torch.manual_seed(0)
    gradients = torch.randn(3, 8, 4)

    def stepped(indices: list[int]) -> list[torch.Tensor]:
        weights = [nn.Parameter(torch.zeros(8, 4)) for _ in indices]
        for weight, index in zip(weights, indices, strict=True):
            weight.grad = gradients[index].clone()
        Muon([(weight, 2) for weight in weights], lr=0.1, weight_decay=0).step()
        return [weight.detach() for weight in weights]

    together = stepped([0, 1, 2])
    for index in range(3):
        torch.testing.assert_close(together[index], stepped([index])[0])


def test_weights_decay_with_the_rate() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    weight.grad = torch.zeros(4, 4)
    Muon([(weight, 1)], lr=0.1, weight_decay=0.5).step()
    torch.testing.assert_close(weight.detach(), torch.full((4, 4), 0.95))
