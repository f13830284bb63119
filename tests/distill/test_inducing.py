import pytest
import torch

from tests.references import distill as slow
from unmask.distill.finite import FiniteDistillation, distill_finite
from unmask.distill.inducing import Distillation, Distilled, Method, balanced, distill
from unmask.distill.kernel_machine import fit
from unmask.distill.ntk import AnalyticNTK
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.victims.mlp import Descent, initial, train
from unmask.weights import PublicMLP

KERNEL = AnalyticNTK()
SHORT = Distillation(count=4, steps=60, learning_rate=0.05)


def problem(count: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return pixels of two classes, bright above and bright below, with noise."""
    noise = generator(seed, "problem")
    wanted = balanced(count, 1)
    pattern = torch.cat([torch.ones(8), -torch.ones(8)]).double()
    pixels = 0.5 + 0.1 * wanted * pattern + 0.2 * torch.randn(count, 16, generator=noise).double()
    return pixels.clamp(0, 1), wanted


def accuracy(few: Distilled) -> float:
    fresh, wanted = problem(200, seed=1)
    found = fit(KERNEL, few.inputs, few.wanted, 1e-2)(fresh)
    return float(((found > 0) == (wanted > 0)).double().mean())


@pytest.mark.parametrize("method", list(Method))
@pytest.mark.parametrize("learn", [False, True])
def test_few_images_from_noise_teach_nearly_what_all_do(method: Method, learn: bool) -> None:
    settings = Distillation(method=method, count=4, learn_labels=learn, steps=100, learning_rate=0.05)
    steps = list(distill(KERNEL, *problem(60), settings, generator(0, "few")))
    assert [each.step for each in steps] == [0, 100]
    assert steps[-1].loss < 0.8 * steps[0].loss
    everything = Distilled(inputs=problem(60)[0], wanted=problem(60)[1], loss=0.0, step=0)
    assert accuracy(steps[-1]) > accuracy(everything) - 0.05 > 0.8
    untrained = Distilled(inputs=steps[0].inputs, wanted=balanced(4, 1), loss=0.0, step=0)
    assert accuracy(untrained) < 0.7
    assert float(steps[-1].inputs.min()) >= 0 and float(steps[-1].inputs.max()) <= 1


def test_learned_targets_are_the_best_for_the_pixels_of_the_moment() -> None:
    for method in Method:
        fixed, learned = (
            next(distill(KERNEL, *problem(30), Distillation(method=method, count=3, learn_labels=learn), noise))
            for learn, noise in ((False, generator(3, "x")), (True, generator(3, "x")))
        )
        assert torch.equal(fixed.inputs, learned.inputs)
        assert learned.loss < fixed.loss


def test_the_same_seed_gives_the_same_set_and_another_one_another() -> None:
    runs = [list(distill(KERNEL, *problem(20), SHORT, generator(seed, "set")))[-1].inputs for seed in (0, 0, 1)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.allclose(runs[0], runs[2], atol=1e-2)


def test_more_than_two_classes_have_a_column_each() -> None:
    pixels, _ = problem(30)
    wanted = balanced(30, 3)
    assert float(wanted.sum(1).abs().max()) < 1e-12
    *_, few = distill(KERNEL, pixels, wanted, Distillation(count=6, steps=2), generator(0, "three"))
    assert few.wanted.shape == (6, 3)


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(BadInput, match="must be positive"):
        Distillation(count=0)
    with pytest.raises(BadInput, match="out of range"):
        Distillation(count=1, ridge=0.0)
    with pytest.raises(BadInput, match="does not distil 4 images"):
        next(distill(KERNEL, *problem(4), SHORT, generator(0, "few")))
    with pytest.raises(BadInput, match="must be positive"):
        FiniteDistillation(count=1, steps=0)


def trained() -> tuple[PublicMLP, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    model = PublicMLP(shape=(1, 4, 4), hidden=(64,))
    start = initial(model, generator(0, "start"))
    pixels, wanted = problem(20)
    return model, start, train(model, start, pixels, wanted, Descent(learning_rate=0.02, steps=100)).weights


def test_the_loss_at_finite_width_is_the_least_squares_distance_to_the_images_gradients() -> None:
    model, start, final = trained()
    settings = FiniteDistillation(count=3, steps=40, softness=1e6, ridge=1e-12)
    *_, few = distill_finite(model, start, final, settings, generator(0, "finite"))
    rows, delta = slow.gradients(model, final, few.inputs), slow.change(start, final)
    duals = torch.linalg.lstsq(rows.T, delta[:, None]).solution[:, 0]
    assert few.loss == pytest.approx(slow.reconstruction(delta, rows, duals) / float(delta @ delta), rel=1e-5)
    assert torch.allclose(few.wanted[:, 0], rows @ rows.T @ duals, rtol=1e-5)


def test_a_set_read_from_weights_alone_teaches_the_task() -> None:
    model, start, final = trained()
    settings = FiniteDistillation(count=4, steps=200)
    steps = list(distill_finite(model, start, final, settings, generator(0, "finite")))
    assert steps[-1].loss < 0.5 * steps[0].loss
    assert accuracy(steps[-1]) > 0.8
    with pytest.raises(BadInput, match="equal the weights"):
        next(distill_finite(model, start, start, settings, generator(0, "finite")))
