"""Held tokens: how far the loss pulls at each is the derivative it says it is, and it finds the wrong one."""

import pytest
import torch
from torch import Tensor

from tests.tiny import loaded
from unmask.attacks.activations import embedding_descent
from unmask.attacks.activations.activation_target import Target
from unmask.attacks.activations.embedding_descent import Codebook, EmbeddingDescent
from unmask.attacks.activations.snapping import Snapping
from unmask.observation import ActivationKnowledge, Activations
from unmask.site import Signal, Site

TEXT = torch.tensor([2, 9, 14, 20, 31, 3])
SITE = Site(layer=1, signal=Signal.BLOCK)


def descent() -> EmbeddingDescent:
    """Return the descent on what the last layer's attention put out for a text of six tokens."""
    model = loaded("bert").model
    rows = model.activations(TEXT[None], [SITE])[SITE.name][0]
    seen = Activations(
        tensors={SITE.name: rows}, sites=(SITE,), model=model, knowledge=ActivationKnowledge(length=len(TEXT))
    )
    target = Target.of(seen)
    return EmbeddingDescent(target=target, codebook=Codebook.of(model.embedding().detach(), target.allowed))


def slowly(found: EmbeddingDescent, embeddings: Tensor) -> Tensor:
    """Return the pulls from the whole derivative, row by row, in float64: `E ||J^T z||^2 = ||J||_F^2`."""
    (whole,) = torch.autograd.functional.jacobian(
        lambda e: torch.cat([part.flatten() for part in found.differences(e)]), (embeddings,)
    )
    r = torch.cat([part.flatten() for part in found.differences(embeddings)]).detach().double()
    spread, pulls = found.codebook.spread.double(), []
    for position in range(len(embeddings)):
        derivative = whole[:, position].double() @ spread
        pulls.append((derivative.T @ r).norm() / derivative.norm())
    return torch.stack(pulls)


def test_pulls_are_those_of_the_whole_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_descent, "DRAWS", 400)
    found = descent()
    wrong = TEXT.clone()
    wrong[2] = 25
    embeddings = found.codebook.table[wrong]
    fast = found.pulls(embeddings, torch.Generator().manual_seed(0))
    assert torch.allclose(fast.double(), slowly(found, embeddings), rtol=0.1)


def test_the_wrong_one_of_the_held_tokens_is_pulled_at_most_far_more_often_than_by_chance() -> None:
    found, hits = descent(), 0
    cases = [(position, token) for position in (1, 2, 3, 4) for token in (5, 11, 17, 25, 28, 35)]
    for position, token in cases:
        wrong = TEXT.clone()
        wrong[position] = token
        pulls = found.pulls(found.codebook.table[wrong], torch.Generator().manual_seed(0))
        hits += int(pulls[1:-1].argmax()) + 1 == position
    assert hits >= 2 * len(cases) / 4  # chance names one in four


def test_differences_are_the_loss() -> None:
    found = descent()
    embeddings = found.codebook.table[TEXT.flip(0)]
    (apart,) = found.differences(embeddings)
    rows = found.target.model.activations(TEXT.flip(0)[None], [SITE])[SITE.name][0]
    seen = found.target.tensors[SITE.name]
    slow = ((rows - seen).double().square().sum(1) / seen.double().square().sum(1)).mean()
    assert float(apart.detach().square().sum(1).mean()) == pytest.approx(float(slow), rel=1e-4)
    assert float(found.loss(embeddings).detach()) == pytest.approx(float(slow), rel=1e-4)


def test_the_search_goes_on_past_wrong_tokens_until_the_replay_fits() -> None:
    found = descent()
    search = Snapping(target=found.target, codebook=found.codebook, exact=1e-4)
    ids, residual, leads = list(search.run())[-1]
    assert ids.tolist() == TEXT.tolist()
    assert residual < 1e-4
    assert leads.shape == TEXT.shape


def test_a_text_of_known_tokens_alone_is_only_replayed() -> None:
    model = loaded("bert").model
    ids = torch.tensor([2, 3])
    rows = model.activations(ids[None], [SITE])[SITE.name][0]
    seen = Activations(tensors={SITE.name: rows}, sites=(SITE,), model=model, knowledge=ActivationKnowledge(length=2))
    target = Target.of(seen)
    target = Target(**{**vars(target), "ids": ids, "free": torch.zeros(2, dtype=torch.bool)})
    book = Codebook.of(model.embedding().detach(), target.allowed)
    ((guess, residual, _),) = Snapping(target=target, codebook=book, exact=1e-4).run()
    assert guess.tolist() == [2, 3]
    assert residual < 1e-4
