"""Activations against what the library itself returns: hidden states, attention weights, cached keys and values."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.tiny import DECODERS, FAMILIES, loaded, network
from unmask.site import Signal, Site

IDS = torch.tensor([[2, 9, 14, 20, 33, 3], [2, 30, 8, 7, 11, 3]])


def outputs(family: str) -> Any:
    made = network(family)
    with torch.no_grad():
        return made(input_ids=IDS, output_hidden_states=True, output_attentions=True, **_cached(family))


def _cached(family: str) -> dict[str, object]:
    return {"use_cache": True} if family in DECODERS else {}


def seen(family: str, *sites: Site) -> dict[str, Tensor]:
    return loaded(family).model.activations(IDS, sites)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_signal_of_every_layer_is_there(family: str) -> None:
    model = loaded(family).model
    assert {site.signal for site in model.sites} == set(Signal)
    assert {site.layer for site in model.sites} == {0, 1}
    assert model.heads == 4


@pytest.mark.parametrize("family", FAMILIES)
def test_hidden_states_and_probabilities_are_the_librarys(family: str) -> None:
    found = outputs(family)
    for layer in range(2):
        hidden, weights = Site(layer=layer, signal=Signal.HIDDEN), Site(layer=layer, signal=Signal.PROBABILITIES)
        ours = seen(family, hidden, weights)
        assert torch.allclose(ours[weights.name], found.attentions[layer], atol=1e-5)
        if family in DECODERS and layer == 1:
            continue  # the library hands out its last hidden state after the final norm
        assert torch.allclose(ours[hidden.name], found.hidden_states[layer + 1], atol=1e-5)


@pytest.mark.parametrize("family", DECODERS)
def test_keys_and_values_are_those_of_the_cache(family: str) -> None:
    cache = outputs(family).past_key_values
    for layer in range(2):
        key, value = Site(layer=layer, signal=Signal.KEY), Site(layer=layer, signal=Signal.VALUE)
        ours = seen(family, key, value)
        assert torch.allclose(ours[value.name], _flat(cache.layers[layer].values), atol=1e-5)
        kept = _flat(cache.layers[layer].keys)
        # Keys are seen before the rotation by position, which is the identity at the first one.
        upto = 1 if family == "llama" else None
        assert torch.allclose(ours[key.name][:, :upto], kept[:, :upto], atol=1e-5)


def _flat(heads: Tensor) -> Tensor:
    return heads.transpose(1, 2).flatten(2)


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_are_probabilities_times_values_and_the_block_is_their_projection(family: str) -> None:
    model = loaded(family).model
    names = [Signal.HEADS, Signal.PROBABILITIES, Signal.VALUE, Signal.BLOCK]
    sites = [Site(layer=1, signal=signal) for signal in names]
    heads, weights, values, block = (seen(family, *sites)[site.name] for site in sites)
    width = heads.shape[-1] // 4
    parts = values.unflatten(-1, (-1, width)).transpose(1, 2)
    parts = parts.repeat_interleave(4 // parts.shape[1], dim=1)
    mixed = (weights @ parts).transpose(1, 2).flatten(2)
    assert torch.allclose(mixed, heads, atol=1e-5)
    output = next(p for p in model.places if p.layer == 1 and p.component == "attention.output" and len(p.shape) == 2)
    weight, bias = model.affine(output)
    assert torch.allclose(heads @ weight.T + bias, block, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_is_its_part_of_the_whole(family: str) -> None:
    for signal in (Signal.HEADS, Signal.VALUE):
        whole, part = Site(layer=0, signal=signal), Site(layer=0, signal=signal, head=1)
        found = seen(family, whole, part)
        assert torch.equal(found[part.name], found[whole.name][..., 8:16])
    whole, part = (Site(layer=0, signal=Signal.PROBABILITIES, head=head) for head in (None, 1))
    found = seen(family, whole, part)
    assert torch.equal(found[part.name], found[whole.name][:, 1])


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_in_place_of_ids_give_the_same_and_a_gradient(family: str) -> None:
    model = loaded(family).model
    site = Site(layer=1, signal=Signal.BLOCK)
    embeddings = model.embedding()[IDS].clone().requires_grad_(True)
    found = model.activations_from_embeddings(embeddings, [site])[site.name]
    assert torch.allclose(found, seen(family, site)[site.name], atol=1e-6)
    (gradient,) = torch.autograd.grad(found.square().sum(), [embeddings])
    step = 1e-3 * gradient / gradient.norm()
    ahead, back = (
        model.activations_from_embeddings(embeddings.detach() + sign * step, [site])[site.name].square().sum()
        for sign in (1, -1)
    )
    assert torch.allclose((ahead - back) / 2e-3, gradient.norm(), rtol=2e-2)


@pytest.mark.parametrize("family", DECODERS)
def test_a_causal_models_row_after_a_prefix_is_that_of_the_whole_text(family: str) -> None:
    model = loaded(family).model
    for signal in (Signal.HIDDEN, Signal.BLOCK, Signal.KEY):
        site = Site(layer=1, signal=signal)
        tokens = torch.tensor([5, 17, 33])
        rows = model.substituted_activations(IDS[0, :4], torch.full((3,), 4), tokens, site)
        whole = [
            model.activations(torch.cat([IDS[0, :4], token[None]])[None], [site])[site.name][0, 4] for token in tokens
        ]
        assert torch.allclose(rows, torch.stack(whole), atol=1e-5)
