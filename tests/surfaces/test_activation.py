from dataclasses import replace

import pytest
import torch

from tests.tiny import FAMILIES, victim
from unmask.errors import BadInput, NoSignal
from unmask.surface import Release
from unmask.surfaces.activation import ActivationSurface
from unmask.victim import Victim


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def one() -> Victim:
    return victim("bert", 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_seen_is_what_stands_there(family: str) -> None:
    who = victim(family, 1)
    assert who.secret is not None
    seen = ActivationSurface(select="1.hidden+0.heads.2+1.probabilities").observe(who, generator())
    n = who.secret.lengths[0]
    assert {name: tuple(t.shape) for name, t in seen.tensors.items()} == {
        "0.heads.2": (n, 8),
        "1.probabilities": (4, n, n),
        "1.hidden": (n, 32),
    }
    whole = who.model.activations(who.secret.ids, seen.sites)
    for name, tensor in seen.tensors.items():
        assert torch.equal(tensor, whole[name][0])
    assert seen.knowledge.exact
    assert seen.knowledge.length == n


def test_missing_rows_are_dropped_at_every_site_and_known_or_not(one: Victim) -> None:
    whole = ActivationSurface(select="1.hidden+0.probabilities").observe(one, generator())
    surface = ActivationSurface(select="1.hidden+0.probabilities", missing=0.5)
    seen = surface.observe(one, generator())
    kept = seen.knowledge.kept
    assert kept is not None
    assert list(kept) == sorted(kept)
    assert len(kept) == 4
    assert torch.equal(seen.tensors["1.hidden"], whole.tensors["1.hidden"][list(kept)])
    assert torch.equal(
        seen.tensors["0.probabilities"], whole.tensors["0.probabilities"][:, list(kept)][:, :, list(kept)]
    )
    assert "4 of 7 rows" in " ".join(seen.knowledge.sentences())
    blind = replace(surface, knows_positions=False).observe(one, generator()).knowledge
    assert (blind.kept, blind.length) == (None, None)
    assert "which, and how many there were, is unknown" in " ".join(blind.sentences())
    assert len(ActivationSurface(select="0.block", missing=0.99).observe(one, generator()).tensors["0.block"]) == 1


def test_permuted_rows_are_permuted_alike_at_every_site(one: Victim) -> None:
    whole = ActivationSurface(select="1.hidden+0.value").observe(one, generator())
    seen = ActivationSurface(select="1.hidden+0.value", permuted=True).observe(one, generator(3))
    order = torch.cdist(seen.tensors["1.hidden"], whole.tensors["1.hidden"]).argmin(1)
    assert order.tolist() != list(range(7))
    assert order.sort().values.tolist() == list(range(7))
    assert torch.equal(seen.tensors["0.value"], whole.tensors["0.value"][order])
    assert seen.knowledge.permuted
    assert "in an unknown order" in " ".join(seen.knowledge.sentences())


def test_a_release_is_stated_and_made(one: Victim) -> None:
    release = Release(dtype="int8", noise=0.1)
    surface = ActivationSurface(select="0.block").with_release(release)
    seen = surface.observe(one, generator())
    assert (seen.knowledge.dtype, seen.knowledge.noise, seen.knowledge.exact) == ("int8", 0.1, False)
    assert len(seen.tensors["0.block"].unique()) <= 255


def test_a_replay_of_a_decoy_differs_by_rounding(one: Victim) -> None:
    assert ActivationSurface(select="1.block", missing=0.5, permuted=True).rounding(one) < 1e-5


def test_two_texts_or_none_are_refused(one: Victim) -> None:
    with pytest.raises(BadInput, match="--batch 3"):
        ActivationSurface(select="0.block").observe(victim("bert", 3), generator())
    with pytest.raises(BadInput, match="has no secret"):
        ActivationSurface(select="0.block").observe(replace(one, secret=None), generator())


def test_settings_are_checked() -> None:
    for missing in (1.0, -0.1):
        with pytest.raises(BadInput, match="--missing"):
            ActivationSurface(missing=missing)


def test_a_head_that_keys_share_is_refused() -> None:
    with pytest.raises(BadInput, match=r"0\.key\.3.*share"):
        ActivationSurface(select="0.key.3").observe(victim("llama", 1), generator())


def test_what_is_not_finite_or_zero_is_refused() -> None:
    for value, kind in ((float("nan"), BadInput), (0.0, NoSignal)):
        broken = victim("bert", 1, fresh_model=True)
        with torch.no_grad():
            for parameter in broken.model.module.bert.encoder.layer[0].attention.output.dense.parameters():
                parameter.fill_(value)
        with pytest.raises(kind):
            ActivationSurface(select="0.block").observe(broken, generator())
