"""Every training that defends trains, publishes what it says, and the adversary gets no more."""

import pytest
import torch

from tests.references import distill as slow
from unmask.defences.training_task import Task
from unmask.defences.trainings import (
    TRAININGS,
    DistilledTraining,
    DpDescent,
    EarlyStopping,
    SecretOffset,
    SecretStart,
    Undefended,
    WeightDecay,
    WeightNoise,
)
from unmask.distill.signals import signals
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.victims.mlp import Descent, initial, train
from unmask.victims.private_descent import PrivateDescent, lengths, train_private
from unmask.weights import PublicMLP

MODEL = PublicMLP(shape=(1, 4, 4), hidden=(32,))
DESCENT = Descent(learning_rate=0.02, steps=60, loss=1e-6)


def task(count: int = 12) -> Task:
    noise = generator(0, "task")
    wanted = (2.0 * (torch.arange(count) % 2) - 1)[:, None].double()
    inputs = (0.5 + 0.2 * wanted + 0.1 * torch.randn(count, 16, generator=noise).double()).clamp(0, 1)
    return Task(model=MODEL, start=initial(MODEL, noise), inputs=inputs, wanted=wanted, descent=DESCENT)


def test_undefended_is_the_ordinary_training() -> None:
    given, here = Undefended().train(task(), generator(0, "x")), task()
    plain = train(MODEL, here.start, here.inputs, here.wanted, DESCENT)
    assert all(torch.equal(given.final[name], plain.weights[name]) for name in plain.weights)
    assert given.shrunk == 1 and given.hidden is None and given.taught is None


def test_early_stopping_takes_fewer_steps() -> None:
    early, late = (kind.train(task(), generator(0, "x")) for kind in (EarlyStopping(loss=0.2), Undefended()))
    assert early.steps < late.steps and early.loss <= 0.2


def test_the_public_settings_of_weight_decay_undo_its_shrinking() -> None:
    here = task()
    given = WeightDecay(decay=0.05).train(here, generator(0, "x"))
    assert 0.3 < given.shrunk < 0.95
    change = torch.cat([given.final["layer.0.weight"] - given.shrunk * here.start["layer.0.weight"]], 1)
    # What is left is a sum over images, as it is without decay: its rows lie in their span.
    basis = torch.linalg.qr(here.inputs.T)[0]
    assert float((change - change @ basis @ basis.T).norm() / change.norm()) < 1e-10
    raw = given.final["layer.0.weight"] - here.start["layer.0.weight"]
    assert float((raw - raw @ basis @ basis.T).norm() / raw.norm()) > 0.05


def test_noise_has_the_size_of_its_share_of_the_change() -> None:
    here = task()
    loud, quiet = (kind.train(here, generator(0, "x")) for kind in (WeightNoise(noise=0.5), Undefended()))
    size = {n: quiet.final[n] - here.start[n] for n in here.start}
    added = {n: loud.final[n] - quiet.final[n] for n in here.start}
    norm = {k: sum(float(t.square().sum()) for t in v.values()) ** 0.5 for k, v in (("c", size), ("a", added))}
    assert norm["a"] / norm["c"] == pytest.approx(0.5, rel=0.2)


def test_secrets_stay_secret() -> None:
    here = task()
    start = SecretStart().train(here, generator(0, "x"))
    assert not torch.allclose(start.start["layer.0.weight"], here.start["layer.0.weight"])
    offset = SecretOffset().train(here, generator(0, "x"))
    assert offset.hidden is not None
    blended = MODEL(offset.final, (here.inputs + offset.hidden) / 2)
    assert torch.equal(offset.outputs(MODEL, here.inputs), blended)
    assert float((blended - here.wanted).square().mean()) < 0.2


def test_distillation_trains_on_its_few_images_alone() -> None:
    here = task()
    defence = DistilledTraining(count=4, steps=50)
    given = defence.train(here, generator(0, "x"))
    assert given.taught is not None and given.taught.shape == (4, 16)
    basis = torch.linalg.qr(given.taught.T)[0]
    change = given.final["layer.0.weight"] - here.start["layer.0.weight"]
    assert float((change - change @ basis @ basis.T).norm() / change.norm()) < 1e-10
    assert float(((given.outputs(MODEL, here.inputs) > 0) == (here.wanted > 0)).double().mean()) == 1
    with pytest.raises(BadInput, match="does not distil"):
        DistilledTraining(count=12).train(here, generator(0, "x"))


def test_only_noise_that_was_accounted_for_guarantees_anything() -> None:
    for name, kind in TRAININGS.items():
        if kind is not DpDescent:
            assert kind().guarantee().epsilon is None, name
    assert DpDescent(epsilon=3.0, steps=2).guarantee().epsilon == pytest.approx(3.0, rel=1e-2)


def test_clipping_norms_are_those_of_every_images_whole_gradient() -> None:
    here = task(5)
    seen = signals(MODEL, here.start, here.inputs)
    error = seen.outputs - here.wanted
    rows = slow.gradients(MODEL, here.start, here.inputs) * error
    assert torch.allclose(lengths(seen, error), rows.norm(dim=1), rtol=1e-10)


def test_a_private_step_is_the_clipped_sum_and_its_noise_has_the_stated_deviation() -> None:
    here = task(5)
    descent = PrivateDescent(learning_rate=0.1, steps=1, clip=0.5, noise=0.0)
    done = train_private(MODEL, here.start, here.inputs, here.wanted, descent, generator(0, "dp"))
    rows = slow.gradients(MODEL, here.start, here.inputs) * (MODEL(here.start, here.inputs) - here.wanted)
    clipped = rows * (0.5 / rows.norm(dim=1, keepdim=True)).clamp_max(1)
    assert float(rows.norm(dim=1).max()) > 0.5
    want = -0.1 * clipped.sum(0) / 5
    assert torch.allclose(slow.change(here.start, done.weights), want, atol=1e-12)
    noisy = PrivateDescent(learning_rate=0.1, steps=1, clip=0.5, noise=2.0)
    other = train_private(MODEL, here.start, here.inputs, here.wanted, noisy, generator(0, "dp"))
    added = slow.change(here.start, other.weights) - want
    assert float(added.std()) == pytest.approx(0.1 * 2.0 * 0.5 / 5, rel=0.1)
    with pytest.raises(BadInput, match="out of range"):
        PrivateDescent(learning_rate=0.1, steps=1, clip=0.0)
