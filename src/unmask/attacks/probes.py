"""Rank the vocabulary by public probes: what each token's own input at a place looks like, whatever its context."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.attacks.evidence import Evidence
from unmask.attacks.rough import rough
from unmask.public import PublicModel

RIDGE = 0.02
"""Share of the mean eigenvalue added to the context covariance before it is inverted."""
SAMPLE = 512
CONTEXTS = 4
MORE = 2560
LENGTH = 16


_LAST: dict[tuple[int, int, str, torch.Size], tuple[PublicModel, "Probes"]] = {}
"""The one most recent measurement, with its model so that an id is not reused."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Probes:
    """Public statistics of a place; they depend on the model alone and serve every sentence.

    A few thousand tokens are probed in random contexts; a linear map from embeddings to their
    inputs then stands for the whole vocabulary. It averages the contexts out, which a probe of
    every token does not: on MiniLM the map ranks as well as 30,522 probes at a sixth of the price.

    Args:
        rows: (H, V, d_b) a token's own blocks, predicted from its embedding.
        white: (H, d_b, d_b) inverse square root of the covariance that contexts add to a token.
    """

    rows: Tensor
    white: Tensor

    @classmethod
    def cached(cls, evidence: Evidence, allowed: Tensor, generator: torch.Generator) -> "Probes":
        """Return `measure`, remembered for the last place: an audit attacks many sentences at one place.

        Args:
            evidence: of which only the model, the place and the blocks matter.
            allowed: token ids that can occur.
            generator: fresh from its seed, which is part of what is remembered.
        """
        key = (generator.initial_seed(), id(evidence.model), evidence.place.name, evidence.bases.shape[:2])
        if key not in _LAST:
            _LAST.clear()
            _LAST[key] = (evidence.model, cls.measure(evidence, allowed, generator))
        return _LAST[key][1]

    @classmethod
    def measure(cls, evidence: Evidence, allowed: Tensor, generator: torch.Generator) -> "Probes":
        """Probe a sample of tokens in several contexts and some more in one each.

        Args:
            evidence: of which only the model, the place and the blocks matter.
            allowed: token ids that can occur.
            generator: source of the contexts.
        """
        model = evidence.model

        def run(tokens: Tensor) -> Tensor:
            context = random_context(model, allowed, LENGTH, generator)
            first, last = len(model.vocabulary.prefix), LENGTH - len(model.vocabulary.suffix)
            where = torch.randint(first, last, tokens.shape, generator=generator)
            with rough():
                found = model.substituted_inputs(context, where, tokens, evidence.place)
            return evidence.blocks(found.to(model.embedding().dtype))

        order = allowed[torch.randperm(len(allowed), generator=generator)]
        sample, more = order[:SAMPLE], order[SAMPLE : SAMPLE + MORE]
        drawn = torch.stack([run(sample) for _ in range(CONTEXTS)])
        within = (drawn - drawn.mean(0)).transpose(0, 1).flatten(1, 2).double()
        covariance = within.transpose(1, 2) @ within / (len(sample) * (CONTEXTS - 1))
        known = torch.cat([drawn.mean(0), *[run(part) for part in more.split(SAMPLE) if len(part)]], 1)
        rows = _extended(model.embedding(), torch.cat([sample, more]), known)
        return cls(rows=rows, white=whitening(covariance, RIDGE).to(rows.dtype))

    def distances(self, evidence: Evidence, allowed: Tensor) -> Tensor:
        """Return the relative distance (V,) of every token to the evidence, infinity where not allowed.

        In the whitened metric, with the direction that all tokens share taken out of rows and
        bases, `1 - ||B^T z||^2 / ||z||^2` averaged over the blocks.

        Args:
            evidence: in the plain metric.
            allowed: token ids that can occur.
        """
        bases = torch.einsum("hbc,hbr->hcr", self.white.double(), evidence.bases).to(self.rows.dtype)
        rows = self.rows @ self.white
        shared = F.normalize(rows[:, allowed].mean(1), dim=-1)
        rows = rows - (rows @ shared[..., None]) * shared[:, None, :]
        bases = bases - shared[..., None] * torch.einsum("hb,hbr->hr", shared, bases)[:, None, :]
        left, values, _ = torch.linalg.svd(bases, full_matrices=False)
        left = left * (values > 1e-5 * values[:, :1])[:, None, :]
        inside = (rows @ left).square().sum(-1) / rows.square().sum(-1).clamp_min(1e-30)
        distances = torch.full((self.rows.shape[1],), float("inf"), dtype=inside.dtype)
        distances[allowed] = 1 - inside.mean(0)[allowed]
        return distances


def explained(white: Evidence, taken: Tensor, rows: Tensor) -> Tensor:
    """Return how much of the bases that a sentence leaves unexplained each further row would explain (M,).

    With Q an orthonormal basis of the sentence's rows, `||(B - Q Q^T B)^T z||^2 / ||z - Q Q^T z||^2`,
    summed over the blocks.

    Args:
        white: the evidence in any metric.
        taken: (H, n, d_b) the sentence's rows in that metric.
        rows: (H, M, d_b) further rows in that metric.
    """
    basis, _ = torch.linalg.qr(taken.transpose(1, 2))
    bases = white.bases.to(rows.dtype)
    rest = bases - basis @ (basis.transpose(1, 2) @ bases)
    rows = rows - (rows @ basis) @ basis.transpose(1, 2)
    return ((rows @ rest).square().sum(-1) / rows.square().sum(-1).clamp_min(1e-9)).sum(0)


def whitening(covariance: Tensor, ridge: float) -> Tensor:
    """Return inverse square roots (H, d, d), float64, of covariances plus a share of their mean eigenvalue."""
    values, vectors = torch.linalg.eigh(covariance)
    floor = (ridge * values.mean(1, keepdim=True)).clamp_min(1e-30)
    return (vectors * (values.clamp_min(0) + floor).rsqrt()[:, None, :]) @ vectors.transpose(1, 2)


def random_context(model: PublicModel, allowed: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Return a sentence of random tokens between the model's prefix and suffix."""
    context = allowed[torch.randint(len(allowed), (length,), generator=generator)]
    prefix, suffix = model.vocabulary.prefix, model.vocabulary.suffix
    context[: len(prefix)] = torch.tensor(prefix, dtype=torch.long)
    if suffix:
        context[-len(suffix) :] = torch.tensor(suffix, dtype=torch.long)
    return context


def _extended(table: Tensor, tokens: Tensor, rows: Tensor) -> Tensor:
    """Return rows (H, V, d_b) of the whole vocabulary by ridge regression on normalised embeddings."""
    features = F.pad(F.layer_norm(table.double(), table.shape[1:]), (0, 1), value=1.0)
    seen = features[tokens]
    gram = seen.T @ seen + torch.eye(seen.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(gram, seen.T @ rows.transpose(0, 1).flatten(1).double())
    found = features.to(rows.dtype) @ weight.to(rows.dtype)
    return found.unflatten(1, (len(rows), -1)).transpose(0, 1).contiguous()
