"""Predict how a causal model responds to every token from its response to a few of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.public import PublicModel
from unmask.site import Signal

RIDGE = 0.2
SHRINK = 0.05
_LAST: dict[int, tuple[PublicModel, Tensor]] = {}


def features(model: PublicModel) -> Tensor:
    """Return public features (V, f) of every token: its embedding beside what the first layer makes of it alone.

    The first layer's feed-forward part is where a token's response is least linear in its embedding. It is
    computed once a model, for every token as the second of a text of two, which costs V passes through one layer.

    Args:
        model: the public model; its features are remembered until those of another one are asked for.
    """
    if id(model) not in _LAST:
        _LAST.clear()
        _LAST[id(model)] = (model, _features(model))
    return _LAST[id(model)][1]


def _features(model: PublicModel) -> Tensor:
    table = model.embedding().detach()
    parts = [table / table.norm(dim=1, keepdim=True).clamp_min(1e-12)]
    first = next((site for site in model.sites if site.signal is Signal.HIDDEN), None)
    if first is not None:
        every = torch.arange(model.vocabulary.size)
        start = torch.tensor(model.vocabulary.prefix[:1] or (0,))
        parts.append(model.substituted_activations(start, torch.ones_like(every), every, first))
    return torch.cat([_scaled(part) for part in parts], 1)


def _scaled(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    return x / x.square().mean().sqrt().clamp_min(1e-12) / x.shape[1] ** 0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Response:
    """Ridge regression of responses (c, d) on features, in its dual form because c is below f.

    `f(t) = y0 + (phi(t) - phi0) X^T (X X^T + lambda I)^{-1} Y` with the centred features X and responses Y of
    the tokens tried. How far it errs is read from its own leave-one-out errors `R_i / (1 - H_ii)`, whose
    covariance gives the metric in which predictions are compared with what was seen.

    Args:
        tokens: (c,) ids that were tried.
        responses: (c, d) what stood at the site.
    """

    tokens: Tensor
    responses: Tensor

    def ranked(self, phi: Tensor, seen: Tensor) -> Tensor:
        """Return all ids (V,), likeliest first: by the plain metric and the errors' own, taking turns.

        Args:
            phi: (V, f) features.
            seen: (m, d) rows, of which the next token's is one.
        """
        tried = phi[self.tokens]
        x = tried - tried.mean(0)
        centre = self.responses.mean(0)
        y = self.responses - centre
        scale = y.square().mean().sqrt().clamp_min(1e-12)
        y = y / scale
        gram = x @ x.T
        ridge = gram + RIDGE * gram.diagonal().mean() * torch.eye(len(gram))
        weights = torch.linalg.solve(ridge, y)
        predicted = (phi - tried.mean(0)) @ (x.T @ weights)
        hat = torch.linalg.solve(ridge, gram).diagonal()
        errors = (y - gram @ weights) / (1 - hat).clamp_min(1e-3)[:, None]
        spread = errors.T @ errors / len(errors)
        spread = spread + SHRINK * spread.diagonal().mean().clamp_min(1e-12) * torch.eye(len(spread))
        factor = torch.linalg.cholesky(spread)
        wanted = (seen - centre) / scale
        plain = torch.cdist(predicted, wanted).amin(1)
        own = torch.cdist(_solved(factor, predicted), _solved(factor, wanted)).amin(1)
        turns = torch.minimum(plain.argsort().argsort(), own.argsort().argsort())
        return turns.argsort(stable=True)


def _solved(factor: Tensor, rows: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, rows.T, upper=False).T
