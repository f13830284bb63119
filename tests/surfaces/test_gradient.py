from dataclasses import replace

import pytest
import torch

from tests.tiny import FAMILIES, loaded, victim
from unmask.errors import BadInput, NoSignal
from unmask.public import Kind
from unmask.rng import generator
from unmask.surface import Release
from unmask.surfaces.gradient import GradientSurface


@pytest.mark.parametrize("family", FAMILIES)
def test_a_batch_is_the_mean_of_its_sequences_or_tokens(family: str) -> None:
    who = victim(family)
    seen = GradientSurface().observe(who, generator(0))
    secret = who.secret
    assert secret is not None
    weights = torch.ones(3) if secret.labels is not None else (secret.mask.sum(1) - 1).float()
    targets = secret.ids if secret.labels is None else secret.labels
    alone = who.model.gradients(secret.ids, targets, who.model.places, mask=secret.mask)
    assert set(seen.tensors) == {place.name for place in who.model.places}
    for place in who.model.places:
        expected = torch.tensordot(weights / weights.sum(), alone[place.name], dims=1)
        assert seen.tensors[place.name].shape == place.shape
        torch.testing.assert_close(seen.tensors[place.name], expected, rtol=1e-3, atol=1e-6, msg=place.name)


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_selection_shows_the_same_numbers_as_the_whole(family: str) -> None:
    who = victim(family)
    whole = GradientSurface().observe(who, generator(0))
    part = GradientSurface(select="0.query+1.ffn.out").observe(who, generator(0))
    assert set(part.tensors) == {"layer.0.query.weight", "layer.1.ffn.out.weight"}
    assert [place.name for place in part.places] == list(part.tensors)
    for name, tensor in part.tensors.items():
        torch.testing.assert_close(tensor, whole.tensors[name])


@pytest.mark.parametrize("family", ["bert", "gpt2", "llama"])
def test_local_steps_sum_up_what_plain_training_does(family: str) -> None:
    who = victim(family)
    rate, steps = 0.05, 3
    seen = GradientSurface(local_steps=steps, learning_rate=rate).observe(who, generator(0))
    twin = victim(family, fresh_model=True)
    module = twin.model.module
    start = {name: p.detach().clone() for name, p in module.named_parameters()}
    optimiser = torch.optim.SGD(module.parameters(), lr=rate)
    secret = twin.secret
    for _ in range(steps):
        optimiser.zero_grad()
        logits = twin.model.forward(module, secret.ids, secret.mask, None)
        if secret.labels is not None:
            loss = torch.nn.functional.cross_entropy(logits, secret.labels)
        else:
            targets = secret.ids[:, 1:].masked_fill(~secret.mask[:, 1:], -100)
            loss = torch.nn.functional.cross_entropy(logits[:, :-1].transpose(1, 2), targets)
        loss.backward()
        optimiser.step()
    end = dict(module.named_parameters())
    for place in who.model.places:
        change = (start[place.parameter] - end[place.parameter].detach()) / rate
        change = change.T if place.transposed else change
        change = change if place.rows is None else change[place.rows[0] : place.rows[1]]
        torch.testing.assert_close(seen.tensors[place.name], change, rtol=1e-3, atol=2e-5, msg=place.name)


def test_the_victims_model_stays_as_it_is() -> None:
    who = victim("bert", fresh_model=True)
    before = {name: p.detach().clone() for name, p in who.model.module.named_parameters()}
    GradientSurface(local_steps=2, learning_rate=0.1, dropout=True).observe(who, generator(0))
    for name, parameter in who.model.module.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_dropout_follows_the_generator_and_leaves_the_global_stream_alone() -> None:
    who = victim("bert")
    surface = GradientSurface(select="0.query", dropout=True)
    state = torch.random.get_rng_state()
    first, again, other = (surface.observe(who, generator(seed)).tensors for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    plain = GradientSurface(select="0.query").observe(who, generator(0)).tensors
    name = "layer.0.query.weight"
    assert torch.equal(first[name], again[name])
    assert not torch.allclose(first[name], other[name])
    assert not torch.allclose(first[name], plain[name])


def test_knowledge_is_what_was_asked_for_and_no_more() -> None:
    who = victim("bert")
    nothing = GradientSurface(knows_batch=False).observe(who, generator(0)).knowledge
    assert (nothing.batch, nothing.labels, nothing.lengths, nothing.padded) == (None, None, None, None)
    everything = GradientSurface(knows_labels=True, knows_lengths=True).observe(who, generator(0)).knowledge
    assert everything.batch == 3
    assert everything.labels == (1, 0, 1)
    assert everything.lengths == (7, 5, 6)
    assert everything.padded == 7
    assert everything.exact


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"dropout": True}, "Dropout was on"),
        ({"local_steps": 2, "learning_rate": 0.01}, "weight change of 2 local steps (learning rate 0.01, known)"),
        ({"release": Release(dtype="bfloat16")}, "Released as bfloat16"),
        ({"release": Release(noise=0.001)}, "Gaussian noise of 0.001 of the norm"),
        ({"release": Release(prune=0.25)}, "the smallest 25% of the entries dropped"),
        ({"release": Release(clip=0.5)}, "clipped to norm 0.5"),
        ({"knows_labels": True}, "Labels are known"),
        ({"knows_lengths": True}, "Lengths are known"),
        ({"knows_batch": False}, "over an unknown number of sequences"),
    ],
)
def test_every_setting_is_said_in_the_threat_model(settings: dict[str, object], words: str) -> None:
    who = victim("bert")
    plain = GradientSurface(select="0.query").observe(who, generator(0))
    seen = GradientSurface(select="0.query", **settings).observe(who, generator(0))
    assert words in " ".join(seen.knowledge.sentences())
    assert words not in " ".join(plain.knowledge.sentences())


def test_releases_that_forbid_a_certificate_say_so() -> None:
    who = victim("bert")
    for settings in ({"release": Release(noise=0.1)}, {"dropout": True}, {"local_steps": 2, "learning_rate": 0.1}):
        assert not GradientSurface(select="0.query", **settings).observe(who, generator(0)).knowledge.exact


def test_gradients_that_are_not_finite() -> None:
    who = victim("bert", fresh_model=True)
    with torch.no_grad():
        who.model.module.classifier.weight.fill_(float("nan"))
    with pytest.raises(BadInput, match=r"NaN or infinite entries at layer\.0\.query\.weight"):
        GradientSurface(select="0.query").observe(who, generator(0))


def test_gradients_that_are_zero() -> None:
    who = victim("bert", fresh_model=True)
    with torch.no_grad():
        who.model.module.classifier.weight.zero_()
    with pytest.raises(NoSignal, match="zero everywhere"):
        GradientSurface(select="0.query").observe(who, generator(0))


def test_a_release_that_prunes_everything_away() -> None:
    who = victim("bert")
    with pytest.raises(BadInput, match="zero everywhere"):
        # float16 underflows long before float32
        GradientSurface(select="0.query", release=Release(clip=1e-30, dtype="float16")).observe(who, generator(0))


@pytest.mark.parametrize("settings", [{"local_steps": 0}, {"local_steps": 2}, {"learning_rate": 0.0, "local_steps": 2}])
def test_settings_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        GradientSurface(**settings)


def test_a_victim_without_a_secret_shows_nothing() -> None:
    with pytest.raises(BadInput, match="has no secret"):
        GradientSurface().observe(replace(victim("bert"), secret=None), generator(0))


def test_weights_stand_as_output_by_input_whatever_the_model_stores() -> None:
    places = {place.name: place for place in loaded("gpt2").model.places}
    seen = GradientSurface(select="0.ffn.in").observe(victim("gpt2"), generator(0))
    assert seen.tensors["layer.0.ffn.in.weight"].shape == (48, 32)
    assert places["layer.0.ffn.in.weight"].kind is Kind.WEIGHT
