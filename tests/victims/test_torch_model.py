"""What the adversary computes equals what plain autograd and a full forward pass give."""

from dataclasses import replace

import pytest
import torch

from tests.tiny import DECODERS, ENCODERS, FAMILIES, fresh, loaded
from unmask.public import Component, Kind
from unmask.victim import Secret
from unmask.victims.mechanism import TorchMechanism

SENTENCES = ("john lives at oak street", "soup was cold", "call me after six")


def _batch(family: str) -> tuple[torch.Tensor, torch.Tensor]:
    rows = [loaded(family).encode(text) for text in SENTENCES]
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows])
    return ids, torch.tensor([[i < len(row) for i in range(longest)] for row in rows])


@pytest.mark.parametrize(("family", "classifier"), [*((f, False) for f in FAMILIES), ("gpt2", True)])
def test_gradients_equal_autograd_of_each_sequence_alone(family: str, classifier: bool) -> None:
    model = fresh(family, classifier=classifier, dtype=torch.float64).model
    ids, mask = _batch(family)
    labels = torch.tensor([0, 1, 1])
    targets = ids if model.classes is None else labels
    found = model.gradients(ids, targets, model.places, mask=mask)
    mechanism = TorchMechanism(model=model)
    exact = 1e-5 if family == "llama" else 1e-9  # its norms compute in float32 whatever they are given
    for row in range(len(ids)):
        kept = ids[row : row + 1, mask[row]]
        secret = Secret(
            ids=kept,
            mask=torch.ones_like(kept, dtype=torch.bool),
            labels=None if model.classes is None else labels[row : row + 1],
            texts=("",),
        )
        parameters = {name: p.clone().requires_grad_() for name, p in mechanism.parameters().items()}
        loss = mechanism.loss(parameters, secret, dropout=False, generator=torch.Generator())
        names = list(parameters)
        grads = dict(zip(names, torch.autograd.grad(loss, list(parameters.values()), allow_unused=True), strict=True))
        for place in model.places:
            grad = grads[place.parameter]
            expected = torch.zeros(place.shape, dtype=torch.float64)
            if grad is not None:
                grad = grad.T if place.transposed else grad
                expected = grad if place.rows is None else grad[place.rows[0] : place.rows[1]]
            assert found[place.name].shape[1:] == place.shape
            torch.testing.assert_close(found[place.name][row], expected, rtol=exact, atol=exact, msg=place.name)


def test_a_tied_table_gets_both_of_its_traces() -> None:
    model = loaded("gpt2").model
    shared = [place for place in model.places if place.parameter == "transformer.wte.weight"]
    assert {place.kind for place in shared} == {Kind.EMBEDDING, Kind.WEIGHT}
    ids, _ = _batch("gpt2")
    found = model.gradients(ids[:, :4], ids[:, :4], shared)
    first, second = (found[place.name] for place in shared)
    assert torch.equal(first, second)


@pytest.mark.parametrize("family", FAMILIES)
def test_soft_targets_at_a_corner_equal_hard_ones(family: str) -> None:
    model = loaded(family).model
    ids, _ = _batch(family)
    ids = ids[:, :4]
    hard = ids if model.classes is None else torch.tensor([1, 0, 1])
    soft = torch.nn.functional.one_hot(hard, model.vocabulary.size if model.classes is None else model.classes).float()
    place = next(place for place in model.places if place.component is Component.QUERY)
    a = model.gradients(ids, hard, [place])[place.name]
    b = model.gradients(ids, soft, [place])[place.name]
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("family", FAMILIES)
def test_embeddings_in_place_of_ids_give_the_same_gradient(family: str) -> None:
    model = loaded(family).model
    ids, mask = _batch(family)
    targets = ids if model.classes is None else torch.tensor([1, 0, 1])
    places = [place for place in model.places if place.kind is Kind.WEIGHT and place.layer is not None]
    a = model.gradients(ids, targets, places, mask=mask)
    b = model.gradients(model.embedding()[ids], targets, places, mask=mask)
    for name, expected in a.items():
        torch.testing.assert_close(b[name], expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_inputs_span_the_rows_of_the_gradient(family: str) -> None:
    model = fresh(family, dtype=torch.float64).model
    ids = torch.tensor([loaded(family).encode(SENTENCES[0])])
    targets = ids if model.classes is None else torch.tensor([1])
    weights = [place for place in model.places if place.kind is Kind.WEIGHT and place.layer is not None]
    inputs = model.inputs(ids, weights)
    gradients = model.gradients(ids, targets, weights)
    for place in weights:
        x, g = inputs[place.name][0], gradients[place.name][0]
        outside = g - g @ torch.linalg.pinv(x) @ x
        assert outside.norm() <= 1e-9 * g.norm() + 1e-12, place.name


@pytest.mark.parametrize("family", DECODERS)
def test_substitution_in_a_causal_model_equals_a_full_forward_pass(family: str) -> None:
    model = loaded(family).model
    ids = torch.tensor(loaded(family).encode(SENTENCES[0]))
    positions = torch.tensor([1, 2, len(ids) - 1, len(ids)])
    candidates = torch.tensor([9, 10, 11, 12])
    for place in (p for p in model.places if p.kind is Kind.WEIGHT and p.layer is not None):
        found = model.substituted_inputs(ids, positions, candidates, place)
        for row, (position, candidate) in enumerate(zip(positions.tolist(), candidates.tolist(), strict=True)):
            sentence = torch.cat([ids[:position], torch.tensor([candidate])])
            full = model.inputs(sentence[None], [place])[place.name][0, position]
            torch.testing.assert_close(found[row], full, rtol=1e-4, atol=1e-5, msg=place.name)


@pytest.mark.parametrize("family", ENCODERS)
def test_substitution_in_an_encoder_keeps_the_other_positions_frozen(family: str) -> None:
    model = loaded(family).model
    ids = torch.tensor(loaded(family).encode(SENTENCES[0]))
    positions = torch.arange(len(ids))
    for place in (p for p in model.places if p.kind is Kind.WEIGHT and p.layer is not None):
        plain = model.inputs(ids[None], [place])[place.name][0]
        same = model.substituted_inputs(ids, positions, ids, place)
        torch.testing.assert_close(same, plain, rtol=1e-4, atol=1e-5, msg=place.name)


@pytest.mark.parametrize("family", ENCODERS)
def test_substitution_in_an_encoder_is_exact_where_the_others_have_not_reacted_yet(family: str) -> None:
    model = loaded(family).model
    ids = torch.tensor(loaded(family).encode(SENTENCES[0]))
    place = next(p for p in model.places if p.layer == 0 and p.component is Component.ATTENTION_OUTPUT)
    found = model.substituted_inputs(ids, torch.tensor([2]), torch.tensor([11]), place)[0]
    changed = ids.clone()
    changed[2] = 11
    torch.testing.assert_close(found, model.inputs(changed[None], [place])[place.name][0, 2], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", ENCODERS)
def test_a_watcher_sees_the_sentence_if_nothing_is_replaced(family: str) -> None:
    model = loaded(family).model
    ids = torch.tensor(loaded(family).encode(SENTENCES[0]))
    positions = torch.arange(1, len(ids))
    for place in (p for p in model.places if p.kind is Kind.WEIGHT and p.layer is not None):
        plain = model.inputs(ids[None], [place])[place.name][0, 0]
        same = model.watched_inputs(ids, positions, ids[1:], place)
        torch.testing.assert_close(same, plain.expand_as(same), rtol=1e-4, atol=1e-5, msg=place.name)


@pytest.mark.parametrize("masks", [True, False])
@pytest.mark.parametrize("family", ENCODERS)
def test_a_watcher_is_exact_where_the_others_have_not_reacted_yet(family: str, masks: bool) -> None:
    model = replace(loaded(family).model, masks=masks)
    ids = torch.tensor(loaded(family).encode(SENTENCES[0]))
    place = next(p for p in model.places if p.layer == 0 and p.component is Component.FFN_IN)
    found = model.watched_inputs(ids, torch.tensor([2, 1]), torch.tensor([11, 12]), place)
    changed = ids.repeat(2, 1)
    changed[0, 2], changed[1, 1] = 11, 12
    torch.testing.assert_close(found, model.inputs(changed, [place])[place.name][:, 0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_without_masks_is_replayed_sentence_by_sentence(family: str) -> None:
    model = replace(loaded(family).model, masks=False)
    ids = torch.tensor(loaded(family).encode(SENTENCES[0]))
    place = next(p for p in model.places if p.layer == 1 and p.component is Component.QUERY)
    found = model.substituted_inputs(ids, torch.tensor([2]), torch.tensor([11]), place)[0]
    changed = ids.clone()
    changed[2] = 11
    torch.testing.assert_close(found, model.inputs(changed[None], [place])[place.name][0, 2])


@pytest.mark.parametrize("family", FAMILIES)
def test_closed_form_of_the_first_layer_is_found_and_right(family: str) -> None:
    model = loaded(family).model
    ids = torch.tensor([loaded(family).encode(SENTENCES[2])])
    for component in (Component.QUERY, Component.KEY, Component.VALUE):
        place = next(p for p in model.places if p.layer == 0 and p.component is component and p.kind is Kind.WEIGHT)
        table = model.input_table(place)
        assert table is not None
        seen = model.inputs(ids, [place])[place.name][0]
        rows = table.rows(ids[0], torch.arange(ids.shape[1]))
        torch.testing.assert_close(rows, seen, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_inputs_that_mix_positions_have_no_closed_form(family: str) -> None:
    model = loaded(family).model
    later = [p for p in model.places if p.layer == 1 and p.kind is Kind.WEIGHT]
    assert later
    assert all(model.input_table(place) is None for place in later)


@pytest.mark.parametrize("family", FAMILIES)
def test_direction_of_sight_is_measured(family: str) -> None:
    assert loaded(family).model.causal is (family in DECODERS)


def test_nothing_is_left_behind_in_the_module() -> None:
    model = fresh("bert").model
    model.module.train()
    before = {name: p.clone() for name, p in model.module.named_parameters()}
    ids, mask = _batch("bert")
    model.gradients(ids, torch.tensor([0, 1, 0]), model.places, mask=mask)
    model.inputs(ids, model.places[:3])
    assert all(child.training for child in model.module.modules())
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in model.module.modules())
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.module.named_parameters())
