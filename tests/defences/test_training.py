"""DP-SGD through Opacus: the self-test catches what breaks a guarantee, and the loop does what it says."""

import math
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.references.broken_steps import FrozenNoise, Mixed, Seeded, breaking, shuffled
from tests.tiny import TEXTS, WORDS, fresh
from unmask.defences.training import accounted as accounts
from unmask.defences.training import frozen
from unmask.defences.training import loop as loops
from unmask.defences.training import self_test as tested
from unmask.defences.training import step as steps
from unmask.defences.training.check import Check
from unmask.defences.training.draws import poisson
from unmask.defences.training.loop import CHECKPOINT, Progress, train
from unmask.defences.training.losses import chosen, joined, losses
from unmask.defences.training.plan import Privacy, Training
from unmask.defences.training.self_test import self_test
from unmask.defences.training.step import GRID, SLACK, PrivateStep, clipped
from unmask.errors import BadInput, MissingExtra
from unmask.privacy.sampling import Randomness
from unmask.victims import hf
from unmask.victims.corpora import Example
from unmask.victims.module import wrap_module
from unmask.victims.secrets import secrets
from unmask.victims.torch_model import TorchModel

TRAINING = Training(batch=10, epochs=1.0, learning_rate=0.05)
PRIVACY = Privacy(noise=1.0, clip=0.5, delta=1e-3)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the accountants out of the self-test: they know nothing of the step, and take a second."""
    passed = Check(name="accountants", passed=True, measured="", expected="")
    monkeypatch.setattr(tested, "accounted", lambda training, privacy, records: passed)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Pass over the warning that a table of embeddings has no differentiable input; many small steps, one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook")
        yield
    torch.set_num_threads(threads)


def private(count: int = 30) -> tuple[TorchModel, list]:
    who = fresh("bert")
    examples = [Example(text=TEXTS[i % 3][0], label=TEXTS[i % 3][1], kind="test") for i in range(count)]
    return who.model, list(secrets(examples, who.model, who.encode, batch=1))


def failed(model: TorchModel, training: Training = TRAINING, **how: object) -> set[str]:
    checks = self_test(model, training, PRIVACY, 100, randomness=Randomness(seed=3), **how)  # type: ignore[arg-type]
    return {check.name for check in checks if not check.passed}


@pytest.mark.parametrize("family", ["bert", "llama"])
def test_a_correct_step_passes(family: str) -> None:
    assert failed(fresh(family).model) == set()
    assert failed(fresh(family).model, replace(TRAINING, train="1.*")) == set()


def test_broken_steps_are_caught() -> None:
    model = fresh("bert").model
    deviation = "deviation of the noise over sigma C / (q N)"
    assert failed(model, make=breaking(model)) == set()
    assert deviation in failed(model, make=breaking(model, noise=0.5))
    # Twice the clipping norm is twice the noise as well: both checks see it.
    assert failed(model, make=breaking(model, clip=2.0)) == {"clipped contribution over C", deviation}
    assert "clipped contribution over C" in failed(model, make=breaking(model, clip=1e6, noise=1e-6))
    assert failed(model, make=breaking(model, Seeded)) == {"two steps' noise is not the same"}
    assert "each example's gradient against a loop" in failed(model, make=breaking(model, Mixed))
    assert deviation in failed(model, make=breaking(model, FrozenNoise))
    assert "trained parameters that moved" in failed(model, make=breaking(model, rate=0.0))


def test_broken_draws_are_caught() -> None:
    model, name = fresh("bert").model, "Poisson draws at the rate that is accounted for"

    assert failed(model, sampler=shuffled) == {name}
    assert failed(model, sampler=lambda count, rate, source: poisson(count, 1.3 * rate, source)) == {name}


def test_what_mixes_examples_or_is_tied_is_refused() -> None:
    assert failed(fresh("gpt2").model) == {"separate examples"}
    # Tied tables may stay as they are.
    assert failed(fresh("gpt2").model, replace(TRAINING, train="1.*")) == set()
    model, sequences = private()
    model.module.classifier = nn.Sequential(nn.BatchNorm1d(32), model.module.classifier)
    with pytest.raises(BadInput, match=r"BatchNorm1d at classifier\.0"):
        train(model, sequences, TRAINING, PRIVACY)


class Broadcast(nn.Module):
    """A position table that is read once and broadcast over the batch."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places, self.head = nn.Embedding(12, 6), nn.Embedding(9, 6), nn.Linear(6, 2)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(torch.tanh(self.words(ids) + self.places(torch.arange(ids.shape[1]))[None]).mean(1))


def test_a_parameter_that_is_broadcast_is_caught() -> None:
    who = wrap_module(
        Broadcast(), encode=lambda text: [1] * 9, decode=lambda ids: " ".join(map(str, ids)), vocabulary_size=12
    )
    (broken,) = [c for c in self_test(who.model, TRAINING, PRIVACY, 100) if not c.passed]
    assert "places.weight" in broken.measured
    assert failed(who.model, replace(TRAINING, train="re:words|head")) == set()


def test_training_moves_a_copy_and_resumes(tmp_path: Path) -> None:
    model, sequences = private()
    before = {name: p.detach().clone() for name, p in model.module.named_parameters()}
    seen: list[Progress] = []
    done = train(model, sequences, replace(TRAINING, train="1.*+head"), PRIVACY, folder=tmp_path, progress=seen.append)
    assert seen[-1] == Progress(step=3, steps=3)
    after = dict(done.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved and all("layer.1." in name or "classifier" in name or "pooler" in name for name in moved)
    assert all(torch.equal(before[name], p) for name, p in model.module.named_parameters())
    assert all(p.requires_grad and not hasattr(p, "grad_sample") for p in done.parameters())
    again = train(model, sequences, replace(TRAINING, train="1.*+head"), PRIVACY, folder=tmp_path, resume=True)
    assert all(torch.equal(after[name], p) for name, p in again.named_parameters())
    with pytest.raises(BadInput, match="other settings"):
        train(model, sequences, TRAINING, PRIVACY, folder=tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).is_file()


def test_a_step_is_clipped_summed_and_divided_by_the_expected_batch() -> None:
    model, sequences = private(4)
    module = fresh("bert").model.module
    trained = chosen(model, module, "all")
    descent = torch.optim.SGD(list(trained.values()), lr=1.0)
    step = PrivateStep(
        module, partial(losses, model), trained, descent, noise=0.0, clip=0.3, expected=2.5, randomness=Randomness()
    )
    total = {name: torch.zeros_like(p) for name, p in trained.items()}
    for one in sequences:  # the slow twin: one sequence at a time
        clean = fresh("bert").model.module
        names = dict(clean.named_parameters())
        found = torch.autograd.grad(losses(model, clean, one).sum(), list(names.values()), allow_unused=True)
        norm = sum(float(g.square().sum()) for g in found if g is not None) ** 0.5
        for name, gradient in zip(names, found, strict=True):
            if gradient is not None:
                total[name] += gradient * min(1.0, 0.3 * (1 - 4 * SLACK) / norm) / 2.5
    before = {name: p.detach().clone() for name, p in trained.items()}
    step.take([joined(sequences[:3], 0), joined(sequences[3:], 0)])  # in two parts that fit in memory
    for name, parameter in trained.items():
        assert torch.allclose(before[name] - parameter, total[name], atol=1e-6), name


def test_what_is_released_is_a_whole_multiple_of_the_grid_below_the_clipping_norm() -> None:
    model, sequences = private(4)
    module = fresh("bert").model.module
    trained = chosen(model, module, "1.*+head")
    descent = torch.optim.SGD(list(trained.values()), lr=1.0)
    step = PrivateStep(
        module, partial(losses, model), trained, descent, noise=0.7, clip=0.3, expected=1.0, randomness=Randomness()
    )
    batch = joined(sequences, 0)
    samples = {name: one.double() for name, one in step.samples(batch).items()}
    whole = clipped({name: one.clone() for name, one in samples.items()}, 0.3)
    for row in range(4):
        norm = math.sqrt(sum(float(one[row].square().sum()) for one in samples.values()))
        size = sum(int(x) ** 2 for one in whole.values() for x in one[row].flatten().tolist())
        assert size <= GRID**2 and size >= (0.998 * min(1.0, norm / 0.3) * GRID) ** 2
        for name, one in whole.items():
            exact = samples[name][row] * min(1.0, 0.3 / norm) / 0.3 * GRID
            assert float((one[row] - exact).abs().max()) <= 1 + 2e-3 * float(exact.abs().max())
            assert torch.equal(one[row], one[row].round())
    noise = step.drawn(next(iter(trained)))
    assert torch.equal(noise, noise.round()) and not torch.equal(noise, step.drawn(next(iter(trained))))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_no_contribution_is_longer_than_the_clipping_norm_in_any_format(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    for scale in (1e-4, 1.0, 3e4):
        samples = {name: (scale * torch.randn(8, *shape)).to(dtype) for name, shape in (("a", (5, 7)), ("b", (300,)))}
        whole = clipped(samples, 1.0)
        for row in range(8):
            size = sum(int(x) ** 2 for one in whole.values() for x in one[row].flatten().tolist())
            assert 0 < size <= GRID**2


def test_an_empty_batch_is_a_step_of_noise_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = private()
    monkeypatch.setattr(loops, "poisson", lambda count, rate, randomness: [])
    done = dict(train(model, sequences, TRAINING, PRIVACY).named_parameters())
    assert not any(torch.equal(p, done[name]) for name, p in model.module.named_parameters())
    plain = dict(train(model, sequences, TRAINING, None).named_parameters())
    assert all(torch.equal(p, plain[name]) for name, p in model.module.named_parameters())


def test_a_gradient_that_is_not_finite_is_refused() -> None:
    model, sequences = private()
    with torch.no_grad():
        model.module.classifier.weight[0, 0] = float("nan")
    with pytest.raises(BadInput, match="not finite"):
        train(model, sequences, TRAINING, PRIVACY)


def test_without_privacy_it_learns() -> None:
    model, sequences = private()
    module = train(model, sequences, replace(TRAINING, epochs=4.0, learning_rate=0.01), None)
    batch = joined(sequences, 0)
    with torch.no_grad():
        after, before = (float(losses(model, each, batch).mean()) for each in (module, model.module))
    assert after < 0.5 * before


def test_the_noise_for_epsilon_and_the_guarantee() -> None:
    training = Training(batch=100, epochs=2.0)
    with pytest.warns(UserWarning, match="not below 1/N"):
        privacy = Privacy.calibrated(3.0, 2e-2, 1.0, training, 100)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stated = privacy.guarantee(training, 100, status="tested")
        void = privacy.guarantee(replace(training, seed=1), 100)
    assert stated.epsilon is not None and 2.9 < stated.epsilon <= 3.0
    assert (stated.status, stated.void, void.void) == ("tested", False, True)
    assert stated.arithmetic == "whole-number"
    assert str(void).startswith("VOID")


def test_a_missing_opacus_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(steps, "import_module", missing)
    model, sequences = private()
    with pytest.raises(MissingExtra, match=r"opacus is not installed.*unmask\[privacy\]"):
        train(model, sequences, TRAINING, PRIVACY)


def test_settings_out_of_range() -> None:
    with pytest.raises(BadInput, match="more than the 5 examples"):
        Training(batch=10).rate(5)
    with pytest.raises(BadInput, match="--epochs"):
        Training(epochs=0.0)
    with pytest.raises(BadInput, match="--train 'layer=9'"):
        chosen(fresh("bert").model, fresh("bert").model.module, "layer=9")


def test_epsilon_is_compared_with_opacus(monkeypatch: pytest.MonkeyPatch) -> None:
    training = Training(batch=100, epochs=2.0)
    assert accounts.accounted(training, PRIVACY, 100).passed
    assert accounts.accounted(training, replace(PRIVACY, noise=0.01), 100).measured.startswith("not compared")
    honest = accounts.accountant.epsilon_of
    monkeypatch.setattr(accounts.accountant, "epsilon_of", lambda *how: 0.9 * honest(*how))
    assert not accounts.accounted(training, PRIVACY, 100).passed


def _pooled() -> tuple[TorchModel, list]:
    who = hf.mean_pooled(fresh("bert"))
    examples = [Example(text=" ".join(WORDS[k : k + 3 + k % 4]), label=k % 2, kind="test") for k in range(24)]
    return who.model, secrets(examples, who.model, who.encode, batch=1)


def test_the_mean_is_over_the_tokens_that_count() -> None:
    model, own = _pooled()
    short, long = own[0], own[3]
    batch = joined([short, long], model.vocabulary.pad or 0)
    both = model.forward(model.module, batch.ids, batch.mask, None)
    network = model.module
    for row, one in enumerate((short, long)):
        states = network.bert(one.ids).last_hidden_state[0]
        slow = network.classifier(states.mean(0))
        torch.testing.assert_close(both[row], slow, rtol=1e-4, atol=1e-5)


def test_a_head_on_stored_features_is_trained_as_in_the_whole_model() -> None:
    model, own = _pooled()
    training = replace(frozen.settings(len(own), "classifier"), epochs=6.0)
    assert frozen.head(model, training) == "classifier"
    assert frozen.head(model, replace(training, dropout=True)) is None
    assert frozen.head(model, replace(training, train="all")) is None
    # All examples are in every step and nothing is drawn, so that both ways take the same steps.
    fast = frozen.train_head(model, own, training, None)
    slow = train(model, own, training, None)
    for (name, one), other in zip(fast.state_dict().items(), slow.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5, msg=name)
    assert not torch.equal(fast.classifier.weight, model.module.classifier.weight)


def test_a_heads_released_step_is_the_whole_models() -> None:
    model, own = _pooled()
    training = replace(frozen.settings(len(own), "classifier"), epochs=2.0)
    privacy = Privacy(noise=1e-4, clip=0.05, delta=1e-3)
    fast = frozen.train_head(model, own, replace(training, seed=3), privacy)
    slow = train(model, own, replace(training, seed=3), privacy)
    torch.testing.assert_close(fast.classifier.weight, slow.classifier.weight, rtol=1e-3, atol=2e-4)


def test_features_do_not_depend_on_the_batch_beyond_rounding() -> None:
    model, own = _pooled()
    one = frozen.features(model, own, "classifier", at_once=1)
    many = frozen.features(model, own, "classifier", at_once=7)
    torch.testing.assert_close(one, many, rtol=1e-4, atol=1e-5)
    assert len({tuple(row.tolist()) for row in one}) == len(own)


def test_a_model_without_a_linear_head_has_no_mean_to_read() -> None:
    with pytest.raises(BadInput, match="has no linear classifier"):
        hf.mean_pooled(fresh("gpt2"))
