from itertools import pairwise

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.weights.dual_matching import DualMatching
from unmask.attacks.weights.gradient_sums import counted, gap, strongest, surrogate_gate
from unmask.attacks.weights.stationarity import Stationarity, directions
from unmask.distill.signals import signals
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surfaces.parameters import ParameterSurface
from unmask.victims.mlp import Descent, initial, targets, train, train_tangent
from unmask.weights import PublicMLP, WeightsObservation


def parts(
    count: int = 3, hidden: tuple[int, ...] = (48,), outputs: int = 1
) -> tuple[PublicMLP, dict[str, Tensor], Tensor]:
    model = PublicMLP(shape=(1, 2, 3), hidden=hidden, outputs=outputs)
    noise = generator(0, "published")
    return model, initial(model, noise), torch.rand(count, 6, generator=noise, dtype=torch.float64)


def observed(final: dict[str, Tensor] | None = None, **known: bool) -> tuple[WeightsObservation, Tensor]:
    model, start, inputs = parts()
    wanted = targets(torch.tensor([0, 1, 1]), 2)
    after = train_tangent(model, start, inputs, wanted).weights if final is None else final
    surface = ParameterSurface(dtype="float64", **known)
    return surface.observe(model, start, after, generator(0, "noise"), count=3), inputs


def slow_sums(
    model: PublicMLP, weights: dict[str, Tensor], inputs: Tensor, duals: Tensor, beta: float
) -> dict[str, Tensor]:
    """The sum by autograd, one candidate and one output after another."""
    total = {name: torch.zeros_like(tensor) for name, tensor in weights.items()}
    for x, own in zip(inputs, duals, strict=True):
        for c in range(model.outputs):
            free = {name: tensor.clone().requires_grad_() for name, tensor in weights.items()}
            h = x
            for layer in range(model.layers):
                h = model.scale(layer) * free[f"layer.{layer}.weight"] @ h + free[f"layer.{layer}.bias"]
                h = F.softplus(beta * h) / beta if layer < model.layers - 1 else h
            for name, grad in zip(free, torch.autograd.grad(h[c], list(free.values())), strict=True):
                total[name] += own[c] * grad / len(inputs)
    return total


@pytest.mark.parametrize(("hidden", "outputs"), [((7,), 1), ((7, 5), 3)])
def test_the_sum_of_weighted_gradients_is_autograds(hidden: tuple[int, ...], outputs: int) -> None:
    model, start, inputs = parts(hidden=hidden, outputs=outputs)
    other = {name: tensor + 0.1 for name, tensor in start.items()}
    duals = torch.randn(2, 3, outputs, generator=generator(0, "duals"), dtype=torch.float64)
    fast = DualMatching.sums(model, [start, other], inputs, duals, 20.0)
    slow = [slow_sums(model, place, inputs, own, 20.0) for place, own in zip((start, other), duals, strict=True)]
    for name, tensor in fast.items():
        assert torch.allclose(
            tensor, slow[0][name] + slow[1][name], rtol=0, atol=1e-7
        )  # torch.softplus is linear from beta z = 20


def test_relu_passes_forwards_and_a_sigmoid_backwards() -> None:
    z = torch.tensor([-0.1, 0.2], dtype=torch.float64, requires_grad=True)
    h, slope = surrogate_gate(10.0)(z)
    assert torch.equal(h, torch.relu(z))
    (grad,) = torch.autograd.grad(h.sum(), z)
    assert torch.allclose(grad, torch.sigmoid(10 * z))
    assert torch.allclose(slope, grad)


def test_the_published_attack_finds_the_image_of_a_tangent_training() -> None:
    model, start, inputs = parts(count=1)
    final = train_tangent(model, start, inputs, targets(torch.tensor([0]), 2)).weights
    seen = ParameterSurface(dtype="float64").observe(model, start, final, generator(0, "noise"))
    guesses = list(DualMatching(at="start", steps=601, every=100).run(seen, generator(0, "attack")))
    far = [float(torch.cdist(inputs, g.images.flatten(1)).min()) for g in guesses if g.images is not None]
    assert guesses[-1].done and guesses[-1].loss < 0.01 * guesses[0].loss
    assert far[-1] < 0.2 < 0.25 * far[0]


@pytest.mark.parametrize("at", ["final", "both"])
def test_the_loss_falls_wherever_gradients_are_taken(at: str) -> None:
    seen, _ = observed()
    losses = [g.loss for g in DualMatching(at=at, steps=201, every=100).run(seen, generator(0, "attack"))]
    assert all(later < sooner for sooner, later in pairwise(losses))


def test_the_number_of_images_is_told_or_the_rank_or_unknown() -> None:
    assert counted(observed()[0]) == 3
    assert counted(observed(knows_count=True)[0]) == 3
    assert counted(observed(knows_start=False)[0]) is None


def test_without_the_start_it_says_so() -> None:
    (guess,) = DualMatching().run(observed(knows_start=False)[0], generator(0, "attack"))
    assert guess.images is None and guess.note == "needs the weights before training"


@pytest.mark.parametrize("kind", ["margin", "decay"])
def test_stationarity_descends_from_the_final_weights_alone(kind: str) -> None:
    model, start, inputs = parts()
    descent = Descent(learning_rate=0.05, steps=400, weight_decay=0.01)
    final = train(model, start, inputs, targets(torch.tensor([0, 1, 1]), 2), descent).weights
    seen, _ = observed(final, knows_start=False)
    attack = Stationarity(kind=kind, count=3, steps=301, rate=0.01, multiplier_rate=0.05)
    guesses = list(attack.run(seen, generator(0, "attack")))
    assert guesses[-1].images is not None and len(guesses[-1].images) == 6
    assert guesses[-1].loss < guesses[0].loss


def test_a_descent_that_diverges_is_named() -> None:
    seen, _ = observed(knows_start=False)
    *_, guess = Stationarity(rate=1e6, multiplier_rate=1e6, steps=300, every=50).run(seen, generator(0, "attack"))
    assert guess.done and "lower rate" in guess.note


def test_the_margin_is_the_label_less_the_runner_up() -> None:
    model, start, inputs = parts(outputs=3)
    seen = signals(model, start, inputs)
    labels = torch.tensor([0, 1, 2])
    margin = (directions(seen, labels) * seen.outputs).sum(1)
    for row, label, value in zip(seen.outputs, labels, margin, strict=True):
        others = [float(v) for k, v in enumerate(row) if k != int(label)]
        assert float(value) == pytest.approx(float(row[label]) - max(others))


def test_idle_candidates_come_last() -> None:
    images = torch.arange(3.0)[:, None, None, None]
    assert strongest(images, torch.tensor([[0.1], [-2.0], [1.0]])).flatten().tolist() == [1.0, 2.0, 0.0]
    assert float(gap({"a": torch.ones(2)}, {"a": torch.zeros(2)})) == 2.0


@pytest.mark.parametrize("wrong", [{"at": "middle"}, {"steps": 0}, {"factor": -1.0}])
def test_settings_out_of_range(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        DualMatching(**wrong)
    with pytest.raises(BadInput):
        Stationarity(**{"kind" if name == "at" else name: value for name, value in wrong.items()})
