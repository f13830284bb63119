"""Attacks on activations, on tiny models of every family."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import DECODERS, ENCODERS, FAMILIES, victim
from unmask.attack import Attack, Reconstruction
from unmask.attacks.activations.activation_span import ActivationSpan
from unmask.attacks.activations.embedding_match import EmbeddingMatch
from unmask.auditor.attempt import attempt
from unmask.errors import BadInput
from unmask.observation import Activations
from unmask.public import PublicModel
from unmask.surface import Release
from unmask.surfaces.activation import ActivationSurface

ATTACK = ActivationSpan()


def seen(family: str, surface: ActivationSurface) -> tuple[Activations[PublicModel], tuple[int, ...]]:
    who = victim(family, 1)
    assert who.secret is not None
    return surface.observe(who, torch.Generator().manual_seed(0)), who.secret.sequences[0]


def best(observation: Activations[PublicModel], attack: Attack = ATTACK, seconds: float = 10.0) -> Reconstruction:  # type: ignore[type-arg]
    found = attempt(attack, observation, torch.Generator().manual_seed(1), seconds=seconds).best
    assert found is not None
    return found


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("select", ["0.value", "0.key", "0.heads", "0.heads.1"])
def test_first_layers_are_read_at_once(family: str, select: str) -> None:
    observation, truth = seen(family, ActivationSurface(select=select))
    guess = best(observation)
    assert guess.tokens == (truth,)
    assert guess.residual is not None
    assert guess.residual < 1e-5


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("permuted", [False, True])
def test_a_first_block_is_read_through_its_projection(family: str, permuted: bool) -> None:
    observation, truth = seen(family, ActivationSurface(select="0.block", permuted=permuted))
    guess = best(observation)
    assert guess.tokens == (truth,)
    assert guess.note == "span of 0.block"


@pytest.mark.parametrize("family", DECODERS)
@pytest.mark.parametrize("select", ["0.block", "1.block", "1.hidden", "1.key", "1.heads.2", "1.value+0.hidden"])
def test_causal_models_are_read_token_by_token(family: str, select: str) -> None:
    observation, truth = seen(family, ActivationSurface(select=select))
    guess = best(observation)
    assert guess.tokens == (truth,)
    assert guess.done
    assert "tokens forwarded" in guess.note


@pytest.mark.parametrize("family", ENCODERS)
@pytest.mark.parametrize("select", ["0.block", "1.hidden", "1.value", "0.probabilities"])
def test_encoders_are_fitted_and_proved(family: str, select: str) -> None:
    observation, truth = seen(family, ActivationSurface(select=select))
    guess = best(observation)
    assert guess.tokens == (truth,)
    assert guess.done
    assert guess.residual is not None
    assert guess.residual < 1e-5


@pytest.mark.parametrize(("family", "select"), [("bert", "0.value"), ("llama", "1.hidden"), ("gpt2", "0.key")])
def test_an_unknown_order_of_rows_is_recovered(family: str, select: str) -> None:
    observation, truth = seen(family, ActivationSurface(select=select, permuted=True))
    guess = best(observation)
    assert guess.tokens == (truth,)
    assert guess.residual is not None
    assert guess.residual < 1e-5


@pytest.mark.parametrize(("family", "select"), [("bert", "0.value"), ("bert", "1.hidden"), ("llama", "1.hidden")])
@pytest.mark.parametrize("release", [Release(dtype="bfloat16"), Release(dtype="int8"), Release(noise=0.01)])
def test_a_rough_release_is_read_without_a_proof(family: str, select: str, release: Release) -> None:
    observation, truth = seen(family, ActivationSurface(select=select, release=release))
    guess = best(observation, seconds=4.0)
    assert guess.tokens == (truth,)
    assert guess.residual is not None
    assert guess.residual > 1e-4


def test_a_clipped_release_is_compared_with_clipped_replays() -> None:
    observation, truth = seen("bert", ActivationSurface(select="1.hidden", release=Release(clip=1.0)))
    guess = best(observation)
    assert guess.tokens == (truth,)
    assert guess.residual is not None
    assert guess.residual < 1e-5


def test_missing_rows_leave_what_the_others_say() -> None:
    observation, truth = seen("bert", ActivationSurface(select="1.hidden", missing=0.2))
    guess = best(observation, seconds=4.0)
    assert len(guess.tokens[0]) == len(truth)
    assert sum(a == b for a, b in zip(guess.tokens[0], truth, strict=True)) >= len(truth) - 1


def test_unknown_missing_rows_are_skipped_with_the_reason() -> None:
    observation, _ = seen("bert", ActivationSurface(select="1.hidden", missing=0.5, knows_positions=False))
    guess = best(observation)
    assert guess.tokens == ()
    assert "neither which nor how many is known" in guess.note


def test_rows_of_another_model_are_not_explained() -> None:
    """A null observation: nothing is proved about noise of the right size."""
    observation, truth = seen("llama", ActivationSurface(select="1.hidden"))
    noise = {name: torch.randn(t.shape) * t.norm() / t.numel() ** 0.5 for name, t in observation.tensors.items()}
    guess = best(replace(observation, tensors=noise), seconds=3.0)
    assert guess.tokens != (truth,)
    assert guess.residual is None or guess.residual > 0.1


def test_equal_seeds_give_equal_guesses() -> None:
    observation, _ = seen("gpt2", ActivationSurface(select="1.block"))
    assert best(observation) == best(observation)


def test_the_baseline_matches_embeddings() -> None:
    observation, truth = seen("bert", ActivationSurface(select="0.hidden"))
    guess = best(observation, EmbeddingMatch(steps=150))
    assert sum(a == b for a, b in zip(guess.tokens[0], truth, strict=True)) >= 5
    for bad in ({"steps": 0}, {"learning_rate": 0.0}):
        with pytest.raises(BadInput):
            EmbeddingMatch(**bad)
