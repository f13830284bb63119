"""Private mechanisms in front of an audit: what is seen is what they release, and the adversary knows them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.tiny import fresh, victim
from unmask.attacks.activations.activation_span import ActivationSpan
from unmask.defences.dp_attention import DpAttention
from unmask.defences.noisy_tokens import NoisyTokens
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surface import Scenario
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.gradient import GradientSurface

HEAD = "0.probabilities.1"


def seen(defence, select: str, family: str = "bert", seed: int = 0):
    surface = ActivationSurface(select=select)
    scenario = Scenario(victim=victim(family, 1), surface=surface)
    return defence.protect(scenario).observe(generator(seed)), scenario.observe(generator(seed))


@pytest.mark.parametrize("family", ["bert", "gpt2", "roberta"])
def test_with_little_noise_the_released_attention_is_the_models_own(family: str) -> None:
    # A ridge is what hides a move: a tiny radius needs almost none, and many draws estimate well.
    faint = DpAttention(epsilon=100.0, radius=1e-4, draws=200_000)
    private, exact = seen(faint, HEAD, family)
    assert torch.allclose(private.tensors[HEAD], exact.tensors[HEAD], atol=0.05)
    assert torch.allclose(private.tensors[HEAD].sum(-1), torch.ones(len(exact.tensors[HEAD])), atol=1e-5)
    assert not private.knowledge.exact
    assert "200000 Gaussian draws" in " ".join(private.knowledge.sentences())


def test_the_default_hides_the_attention() -> None:
    first, exact = seen(DpAttention(), HEAD)
    other, _ = seen(DpAttention(), HEAD, seed=1)
    away = float((first.tensors[HEAD] - exact.tensors[HEAD]).abs().mean())
    assert away > 0.1 and not torch.equal(first.tensors[HEAD], other.tensors[HEAD])


def test_the_two_rows_of_a_token_are_paid_for() -> None:
    private = DpAttention(epsilon=2.0, delta=1e-5)
    stated = private.guarantee(None)
    surface = private.protect(Scenario(victim=None, surface=ActivationSurface(select=HEAD))).surface
    one = surface.mechanism.guarantee()  # type: ignore[attr-defined]
    assert (stated.epsilon, stated.unit, stated.scope) == (2.0, "one token", "one matrix, one head")
    # Group privacy of two: twice epsilon, and delta once more with the factor e^epsilon.
    assert 2 * one.epsilon <= 2.0 + 1e-6
    assert one.delta * (1 + np.exp(one.epsilon)) <= 1e-5 * (1 + 1e-6)


def test_noisy_tokens_are_read_by_the_whole_model() -> None:
    everything = "0.key+0.probabilities+1.hidden"
    faint, exact = seen(NoisyTokens(epsilon=1.0, radius=1e-6), everything)
    for name, tensor in exact.tensors.items():
        assert torch.allclose(faint.tensors[name], tensor, atol=1e-3), name
    loud, _ = seen(NoisyTokens(epsilon=1.0), everything)
    assert all(value > 0.1 for value in loud.knowledge.spread.values())
    assert all(value < 1e-6 for value in faint.knowledge.spread.values())
    assert "deviation" in loud.knowledge.mechanism and not loud.knowledge.exact


def test_the_noise_has_the_deviation_that_is_stated() -> None:
    who = fresh("bert").model
    surface = NoisyTokens(epsilon=2.0).protect(Scenario(victim=None, surface=ActivationSurface())).surface
    mechanism = surface.mechanism(who)  # type: ignore[attr-defined]
    longest = float(who.embedding().norm(dim=1).max())
    assert mechanism.sensitivity == pytest.approx(2 * longest, rel=1e-4)
    assert mechanism.guarantee().epsilon == 2.0


def test_a_faint_mechanism_does_not_stop_the_attack_and_a_loud_one_does() -> None:
    def attacked(defence: NoisyTokens) -> tuple[int, ...]:
        private, _ = seen(defence, "0.value")
        *_, last = ActivationSpan().run(private, generator(0))
        return last.tokens[0]

    truth = victim("bert", 1).secret
    assert truth is not None
    assert attacked(NoisyTokens(radius=1e-6)) == truth.sequences[0]
    wrong = sum(a != b for a, b in zip(attacked(NoisyTokens()), truth.sequences[0], strict=True))
    assert wrong >= 3


@pytest.mark.parametrize(
    ("defence", "select", "said"),
    [
        (DpAttention(), "0.probabilities", "add --select 0.probabilities.0"),
        (DpAttention(), "1.probabilities.0", "one token moves every row"),
        (DpAttention(), "0.hidden", "is not the probabilities of one head"),
    ],
)
def test_what_the_guarantee_does_not_cover_is_refused(defence: DpAttention, select: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        seen(defence, select)


def test_a_model_that_turns_its_queries_is_refused() -> None:
    with pytest.raises(BadInput, match="turns or shifts"):
        seen(DpAttention(), HEAD, "llama")


@pytest.mark.parametrize("defence", [DpAttention(), NoisyTokens()])
def test_gradients_are_not_theirs(defence: DpAttention | NoisyTokens) -> None:
    with pytest.raises(BadInput, match="--surface attention"):
        defence.protect(Scenario(victim=None, surface=GradientSurface()))


def test_settings_are_checked() -> None:
    for kind in (DpAttention, NoisyTokens):
        with pytest.raises(BadInput, match="epsilon"):
            kind(epsilon=-1.0)
        with pytest.raises(BadInput, match="radius"):
            kind(radius=0.0)
    assert replace(DpAttention(), draws=4).draws == 4
