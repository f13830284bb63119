"""A DP-SGD step: clipping per sequence over all parameters, noise of the stated deviation, and both readings."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import victim
from unmask.attacks.layout import noise_deviation
from unmask.defences.dp_sgd import DpSgd
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surface import Release, Scenario
from unmask.surfaces.dp_gradient import DpGradientSurface, Reading, _sequences
from unmask.surfaces.gradient import GradientSurface

QUERY = "layer.0.query.weight"
SEEN = GradientSurface(select="0.query")


def looped(who, clip: float) -> torch.Tensor:
    """Return the mean of clipped gradients of one tensor, one sequence after the other through the whole gradient."""
    total = torch.zeros(())
    for secret in _sequences(who.secret):
        alone = replace(who, secret=secret)
        whole = GradientSurface(select="all").observe(alone, generator(0)).tensors
        names = {place.name: place.parameter for place in who.model.places}
        once = {names[name]: tensor for name, tensor in whole.items()}
        assert len(once) == len(whole)  # no tied parameter counts twice
        norm = sum(float(tensor.double().square().sum()) for tensor in once.values()) ** 0.5
        total = total + whole[QUERY] * min(1, clip / norm)
    return total / who.secret.size


@pytest.mark.parametrize("clip", [1e-3, 0.2, 1e6])
def test_each_sequence_is_clipped_over_all_parameters(clip: float) -> None:
    who = victim("bert")
    seen = DpGradientSurface(base=SEEN, clip=clip, noise=0.0).observe(who, generator(0))
    assert torch.allclose(seen.tensors[QUERY], looped(who, clip), rtol=1e-4, atol=1e-9)
    assert not seen.knowledge.exact and seen.knowledge.sequence_clip == clip


def test_without_clipping_and_noise_it_is_the_plain_gradient() -> None:
    who = victim("bert")
    plain = SEEN.observe(who, generator(0)).tensors[QUERY]
    assert torch.allclose(
        DpGradientSurface(base=SEEN, clip=1e6, noise=0.0).observe(who, generator(0)).tensors[QUERY], plain, atol=1e-7
    )
    early = DpGradientSurface(base=SEEN, clip=1e-3, noise=9.0, reading=Reading.PRE_NOISE).observe(who, generator(0))
    assert torch.equal(early.tensors[QUERY], plain) and early.knowledge.exact


def test_the_noise_has_the_stated_deviation_and_the_adversary_knows_it() -> None:
    who = victim("bert")
    clean = DpGradientSurface(base=SEEN, clip=0.5, noise=0.0).observe(who, generator(0)).tensors[QUERY]
    draws = []
    for seed in range(8):
        seen = DpGradientSurface(base=SEEN, clip=0.5, noise=2.0).observe(who, generator(seed))
        draws.append(seen.tensors[QUERY] - clean)
        assert noise_deviation(seen) == pytest.approx(1 / who.secret.size)
    noise = torch.stack(draws)
    assert float(noise.std()) == pytest.approx(1 / who.secret.size, rel=0.03)
    assert abs(float(noise.mean())) < 0.01
    assert any("deviation 0.333333" in sentence for sentence in seen.knowledge.sentences())


def test_the_defence_wraps_the_gradient_and_nothing_else() -> None:
    who = victim("bert")
    safer = DpSgd(noise=2.0, clip=0.5).protect(Scenario(victim=who, surface=SEEN))
    assert safer.surface == DpGradientSurface(base=SEEN, clip=0.5, noise=2.0)
    assert safer.surface.with_release(Release(prune=0.1)).release.prune == 0.1
    with pytest.raises(BadInput, match="does not protect"):
        DpSgd().protect(safer)


def test_what_is_guaranteed() -> None:
    pytest.importorskip("dp_accounting")
    held = DpSgd(noise=1.0, rate=0.1, steps=10).guarantee(None)
    assert held.epsilon is not None and 0.5 < held.epsilon < 5 and "add or remove" in str(held)
    for nothing in (DpSgd(noise=0.0), DpSgd(reading=Reading.PRE_NOISE)):
        assert nothing.guarantee(None).epsilon is None


@pytest.mark.parametrize("settings", [{"clip": 0.0}, {"noise": -1.0}, {"noise": float("inf")}])
def test_settings_out_of_range(settings: dict[str, float]) -> None:
    (name,) = settings
    with pytest.raises(BadInput, match=name):
        DpSgd(**settings)


def test_local_steps_are_refused() -> None:
    with pytest.raises(BadInput, match="local-steps"):
        DpGradientSurface(base=GradientSurface(local_steps=2, learning_rate=0.1))
