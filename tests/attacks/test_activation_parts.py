"""The parts of the attacks on activations against slow twins."""

import pytest
import torch

from tests.references.activations import nearest_rows, predicted_responses
from tests.tiny import FAMILIES, loaded
from unmask.attacks.activations.embedding_descent import Codebook
from unmask.attacks.activations.first_rows import before_projection, head_distances, read_rows, row_map
from unmask.attacks.activations.row_search import rehearsed
from unmask.attacks.activations.token_response import RIDGE, ranked
from unmask.site import Signal, Site
from unmask.subspace import row_space, span_distance


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("head", [None, 1])
def test_rows_are_read_as_by_comparing_one_by_one(family: str, head: int | None) -> None:
    model = loaded(family).model
    ids = torch.tensor([[2, 9, 14, 20]])
    site = Site(layer=0, signal=Signal.VALUE, head=head)
    rows = model.activations(ids, [site])[site.name][0]
    found = row_map(model, site)
    assert found is not None
    allowed = torch.arange(model.vocabulary.size)
    tokens, distances = read_rows(*found, rows, range(4), allowed)
    slow_tokens, slow_distances = nearest_rows(*found, rows, [0, 1, 2, 3], allowed)
    assert torch.equal(tokens, slow_tokens)
    assert torch.allclose(distances, slow_distances, atol=1e-9)
    assert tokens.diagonal().tolist() == ids[0].tolist()


def test_later_layers_have_no_closed_form() -> None:
    model = loaded("bert").model
    assert row_map(model, Site(layer=1, signal=Signal.VALUE)) is None
    assert row_map(model, Site(layer=0, signal=Signal.HIDDEN)) is None


def test_heads_span_what_their_values_span() -> None:
    model = loaded("bert").model
    ids = torch.tensor([[2, 9, 14, 20, 3]])
    site = Site(layer=0, signal=Signal.HEADS)
    rows = model.activations(ids, [site])[site.name][0]
    fast = head_distances(model, site, rows, 5, noise=0.0)
    assert fast is not None
    found = row_map(model, Site(layer=0, signal=Signal.VALUE))
    assert found is not None
    table, weight, bias = found
    slow = torch.zeros(model.vocabulary.size, 5, dtype=torch.float64)
    for head in range(4):
        part = slice(8 * head, 8 * head + 8)
        space = row_space(rows[:, part] - bias[part])
        for position in range(5):
            values = table.rows(torch.arange(model.vocabulary.size), torch.tensor(position)) @ weight[part].T
            slow[:, position] += span_distance(values, space) / 4
    assert torch.allclose(fast, slow, atol=1e-5)
    assert fast.argmin(0).tolist() == ids[0].tolist()


def test_as_many_rows_as_a_head_is_wide_have_no_span() -> None:
    model = loaded("bert").model
    site = Site(layer=0, signal=Signal.HEADS)
    rows = model.activations(torch.arange(4, 12)[None], [site])[site.name][0]
    assert head_distances(model, site, rows, 8, noise=0.0) is None


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_the_output_projection_is_undone(family: str) -> None:
    model = loaded(family).model
    sites = [Site(layer=1, signal=Signal.BLOCK), Site(layer=1, signal=Signal.HEADS)]
    seen = model.activations(torch.tensor([[2, 9, 14, 20, 3]]), sites)
    block, heads = (seen[site.name][0] for site in sites)
    found = before_projection(model, sites[0], block, 0.5)
    assert found is not None
    assert found[0] == sites[1]
    assert torch.allclose(found[1], heads, atol=1e-4 * float(heads.abs().max()))
    # The noise predicted is that of what stood before for noise of that deviation on the block.
    noise = 0.5 * torch.randn(4000, block.shape[1], generator=torch.Generator().manual_seed(0))
    moved = before_projection(model, sites[0], block[:1] + noise, 0.5)
    assert moved is not None
    assert float((moved[1] - heads[0]).square().mean().sqrt()) == pytest.approx(found[2], rel=0.1)
    assert before_projection(model, sites[1], heads, 0.5) is None


def test_two_heads_are_the_mean_of_two() -> None:
    model = loaded("bert").model
    site = Site(layer=0, signal=Signal.HEADS)
    rows = model.activations(torch.tensor([[2, 9, 14, 20, 3]]), [site])[site.name][0]
    both = head_distances(model, site, rows, 5, noise=0.0, most=2)
    each = [
        head_distances(model, Site(layer=0, signal=Signal.HEADS, head=h), rows[:, 8 * h : 8 * h + 8], 5, noise=0.0)
        for h in range(2)
    ]
    assert both is not None
    assert each[0] is not None
    assert each[1] is not None
    assert torch.allclose(both, (each[0] + each[1]) / 2)


def test_the_ranking_is_that_of_a_ridge_regression() -> None:
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(60, 12, generator=draw)
    responses = features @ torch.randn(12, 7, generator=draw) + 0.1 * torch.randn(60, 7, generator=draw)
    tokens = torch.randperm(60, generator=draw)[:25]
    truth = next(t for t in range(60) if t not in tokens.tolist())
    seen = responses[truth][None]
    order = ranked(features @ features[tokens].T, tokens, responses[tokens], seen)
    slow = (predicted_responses(features, tokens, responses[tokens], RIDGE) - seen.double()).norm(dim=1)
    places = order.argsort()
    # Each token stands at the better of its two ranks, so that none comes later than twice its plain one.
    assert bool((places <= 2 * slow.argsort().argsort() + 1).all())
    assert int(places[truth]) <= 2


def test_a_codebook_is_white_and_decodes_directions() -> None:
    table = loaded("bert").model.embedding().detach()
    allowed = torch.arange(4, len(table))
    book = Codebook.of(table, allowed)
    covariance = torch.cov(table[allowed].T, correction=0)
    assert torch.allclose(book.spread @ book.spread.T, covariance, atol=1e-4)
    coordinates = torch.linalg.lstsq(book.spread, (table[[7, 30]] - book.mean).T).solution.T
    cosines, tokens = book.nearest(0.3 * coordinates, 2)
    assert tokens[:, 0].tolist() == [7, 30]
    assert torch.allclose(book.embeddings(coordinates), table[[7, 30]], atol=1e-3)
    assert bool((cosines[:, 0] > cosines[:, 1]).all())


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_rehearsal_measures_rounding(family: str) -> None:
    model = loaded(family).model
    draw = torch.Generator().manual_seed(0)
    found = rehearsed(model, Site(layer=1, signal=Signal.BLOCK), torch.arange(4, 40), draw)
    assert len(found) == 12
    assert float(found.max()) < 1e-9
