"""The reconstruction loss of weights and the distillation loss are one number in two norms."""

import pytest
import torch

from tests.references import distill as slow
from unmask.distill.kernel_machine import gram
from unmask.distill.losses import Grams, kip, parts, ridged, rkip
from unmask.distill.ntk import AnalyticNTK
from unmask.rng import generator
from unmask.victims.mlp import initial, train_tangent
from unmask.weights import PublicMLP


def grams(kernel: AnalyticNTK, many: torch.Tensor, few: torch.Tensor) -> Grams:
    return Grams(whole=gram(kernel, many), mixed=kernel(many, few), few=gram(kernel, few))


@pytest.mark.parametrize("hidden", [1, 2])
def test_twice_rkip_is_kip_in_another_norm_plus_what_lies_apart(hidden: int) -> None:
    noise = generator(0, "identity", hidden)
    many, few = torch.rand(9, 12, generator=noise).double(), torch.rand(3, 12, generator=noise).double()
    wanted, duals = (torch.randn(n, 2, generator=noise).double() for n in (9, 3))
    found = grams(AnalyticNTK(hidden=hidden), many, few)
    seen, apart = parts(found, wanted, duals)
    whole = rkip(found, torch.linalg.solve(found.whole, wanted), duals)
    assert float(seen + apart) == pytest.approx(2 * float(whole), rel=1e-9)
    assert float(apart) > 1e-3 * float(seen)
    largest = torch.linalg.eigvalsh(found.whole)[-1]
    assert float(whole) >= len(many) * float(kip(found, wanted, duals) / largest)


def test_twice_rkip_is_the_loss_by_which_images_are_read_from_weights() -> None:
    noise = generator(0, "weights")
    model = PublicMLP(shape=(1, 3, 3), hidden=(7, 6))
    start = initial(model, noise)
    many, few = torch.rand(5, 9, generator=noise).double(), torch.rand(3, 9, generator=noise).double()
    wanted, duals = torch.randn(5, 1, generator=noise).double(), torch.randn(3, 1, generator=noise).double()
    final = train_tangent(model, start, many, wanted).weights
    rows, others = slow.gradients(model, start, many), slow.gradients(model, start, few)
    found = Grams(whole=rows @ rows.T, mixed=rows @ others.T, few=others @ others.T)
    known = torch.linalg.solve(found.whole, wanted - model(start, many))
    want = slow.reconstruction(slow.change(start, final), others, duals[:, 0])
    assert 2 * float(rkip(found, known, duals)) == pytest.approx(want, rel=1e-8)


def test_the_training_set_itself_loses_nothing() -> None:
    noise = generator(0, "same")
    many, wanted = torch.rand(6, 8, generator=noise).double(), torch.randn(6, 1, generator=noise).double()
    found = grams(AnalyticNTK(), many, many)
    found = Grams(whole=found.whole, mixed=found.whole, few=found.whole)
    duals = torch.linalg.solve(found.whole, wanted)
    assert float(rkip(found, duals, duals)) == pytest.approx(0, abs=1e-9)
    assert float(kip(found, wanted, duals)) == pytest.approx(0, abs=1e-9)


def test_a_ridge_is_a_share_of_the_mean_diagonal() -> None:
    assert torch.equal(ridged(torch.diag(torch.tensor([1.0, 3.0])), 0.5), torch.diag(torch.tensor([2.0, 4.0])))
