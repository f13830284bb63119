"""Predict how a causal model responds to every token from its response to a few of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.public import PublicModel
from unmask.rng import generator
from unmask.site import Signal

RIDGE = 0.2
SHRINK = 0.05
KEPT = 128
"""Directions of the predicted responses that are compared; their spectrum falls fast."""
SPREAD = 224
"""Tokens whose responses every prediction rests on, beside those tried for their likelihood."""
_LAST: dict[int, tuple[PublicModel, "Features"]] = {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Features:
    """What is public about every token before any context: V vectors, and their products with a sample of them.

    Args:
        every: (V, f) a token's embedding beside what the first layer makes of it alone, where a token's
            response is least linear in its embedding.
        sample: (s,) ids drawn once.
        products: (V, s) `every @ every[sample].T`.
    """

    every: Tensor
    sample: Tensor
    products: Tensor

    @classmethod
    def cached(cls, model: PublicModel, allowed: Tensor) -> "Features":
        """Return `measure`, remembered for the last model: an audit attacks many texts of one.

        Args:
            model: the public model.
            allowed: ids that may occur.
        """
        if id(model) not in _LAST:
            _LAST.clear()
            _LAST[id(model)] = (model, cls.measure(model, allowed))
        return _LAST[id(model)][1]

    @classmethod
    def measure(cls, model: PublicModel, allowed: Tensor) -> "Features":
        """Put every token once through the first layer, as the second token of a text of two.

        Args:
            model: the public model.
            allowed: ids that may occur.
        """
        parts = [torch.nn.functional.normalize(model.embedding().detach(), dim=1)]
        first = next((site for site in model.sites if site.signal is Signal.HIDDEN), None)
        if first is not None:
            tokens = torch.arange(model.vocabulary.size)
            start = torch.tensor(model.vocabulary.prefix[:1] or (0,))
            parts.append(model.substituted_activations(start, torch.ones_like(tokens), tokens, first))
        every = torch.cat([_scaled(part) for part in parts], 1)
        sample = allowed[torch.randperm(len(allowed), generator=generator(0, "features"))[:SPREAD]]
        return cls(every=every, sample=sample, products=every @ every[sample].T)

    def products_with(self, tokens: Tensor) -> Tensor:
        """Return the inner products (V, c) of every token's features with those of some.

        Args:
            tokens: (c,) ids, the sample first if it is among them.
        """
        known = len(self.sample) if torch.equal(tokens[: len(self.sample)], self.sample) else 0
        fresh = self.every @ self.every[tokens[known:]].T
        return torch.cat([self.products, fresh], 1) if known else fresh


def _scaled(x: Tensor) -> Tensor:
    x = x - x.mean(0)
    return x / x.square().mean().sqrt().clamp_min(1e-12) / x.shape[1] ** 0.5


def ranked(products: Tensor, tokens: Tensor, responses: Tensor, seen: Tensor) -> Tensor:
    """Return all ids (V,), those first whose predicted response is nearest to what was seen.

    Ridge regression of the responses Y on features, in its dual form because few tokens were tried:
    `f(t) = y0 + k(t)^T A` with `A = (K + lambda I)^{-1} Y` and k(t) the centred products of t's features with
    those tried. How far it errs is read from its own leave-one-out errors `(Y - K A)_i / (1 - H_ii)`: distances
    are taken in the plain metric and in that of the errors' covariance, and the better of the two ranks counts.
    With `A M = U S W^T` for the metric's factor M, `||(k^T A - w) M|| = ||k^T U S - w M W||` up to a constant.

    Args:
        products: (V, c) of every token's features with those of the tokens tried.
        tokens: (c,) ids tried.
        responses: (c, d) what stood at the site for them.
        seen: (m, d) rows, of which the next token's is one.
    """
    kernel = products[tokens]
    centre = kernel.mean(0)
    every = products - products.mean(1, keepdim=True) - (centre - centre.mean())
    kernel = every[tokens]
    middle = responses.mean(0)
    scale = (responses - middle).square().mean().sqrt().clamp_min(1e-12)
    y, wanted = (responses - middle) / scale, (seen - middle) / scale
    ridge = kernel + RIDGE * kernel.diagonal().mean().clamp_min(1e-12) * torch.eye(len(kernel))
    weights = torch.linalg.solve(ridge, y)
    hat = torch.linalg.solve(ridge, kernel).diagonal()
    errors = (y - kernel @ weights) / (1 - hat).clamp_min(1e-3)[:, None]
    spread = errors.T @ errors / len(errors)
    spread = spread + SHRINK * spread.diagonal().mean().clamp_min(1e-12) * torch.eye(len(spread))
    factor = torch.linalg.cholesky(spread)
    plain = _distances(every, weights, wanted)
    own = _distances(every, _solved(factor, weights), _solved(factor, wanted))
    return torch.minimum(plain.argsort().argsort(), own.argsort().argsort()).argsort(stable=True)


def _distances(every: Tensor, weights: Tensor, wanted: Tensor) -> Tensor:
    left, values, right = torch.linalg.svd(weights, full_matrices=False)
    coordinates = every @ (left[:, :KEPT] * values[:KEPT])
    return torch.cdist(coordinates, wanted @ right[:KEPT].T).amin(1)


def _solved(factor: Tensor, rows: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(factor, rows.T, upper=False).T
