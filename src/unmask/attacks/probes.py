"""Rank the vocabulary by public probes: each token's own input at a place, in a random context."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.evidence import Evidence
from unmask.public import PublicModel

RIDGE = 0.02
"""Share of the mean eigenvalue added to the context covariance before it is inverted."""
SAMPLE = 512
CONTEXTS = 6
LENGTH = 16
AT_ONCE = 512


_LAST: dict[tuple[int, int, str, torch.Size], tuple[PublicModel, "Probes"]] = {}
"""The one most recent measurement, with its model so that an id is not reused."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Probes:
    """Public statistics of a place; they depend on the model alone and serve every sentence.

    Args:
        rows: (H, V, d_b) a token's own blocks in one random context, whitened.
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
        """Probe every token once, and a sample of tokens in several contexts.

        Args:
            evidence: of which only the model, the place and the blocks matter.
            allowed: token ids that can occur.
            generator: source of the contexts.
        """
        model = evidence.model

        def run(tokens: Tensor) -> Tensor:
            context = random_context(model, allowed, LENGTH, generator)
            first, last = len(model.vocabulary.prefix), LENGTH - len(model.vocabulary.suffix)
            parts = []
            for part in tokens.split(AT_ONCE):
                where = torch.randint(first, last, part.shape, generator=generator)
                parts.append(evidence.blocks(model.substituted_inputs(context, where, part, evidence.place)))
            return torch.cat(parts, 1)

        rows = run(torch.arange(model.vocabulary.size))
        sample = allowed[torch.randperm(len(allowed), generator=generator)[:SAMPLE]]
        drawn = torch.stack([run(sample) for _ in range(CONTEXTS)])
        within = (drawn - drawn.mean(0)).transpose(0, 1).flatten(1, 2).double()
        covariance = within.transpose(1, 2) @ within / (len(sample) * (CONTEXTS - 1))
        values, vectors = torch.linalg.eigh(covariance)
        floor = RIDGE * values.mean(1, keepdim=True)
        white = (vectors * (values.clamp_min(0) + floor).rsqrt()[:, None, :]) @ vectors.transpose(1, 2)
        return cls(rows=rows @ white.float(), white=white.float())

    def distances(self, evidence: Evidence, allowed: Tensor) -> Tensor:
        """Return the relative distance (V,) of every token to the evidence, infinity where not allowed.

        In the whitened metric, with the direction that all tokens share taken out of rows and
        bases, `1 - ||B^T z||^2 / ||z||^2` averaged over the blocks.

        Args:
            evidence: in the plain metric.
            allowed: token ids that can occur.
        """
        bases = torch.einsum("hbc,hbr->hcr", self.white.double(), evidence.bases).float()
        rows = self.rows
        shared = torch.nn.functional.normalize(rows[:, allowed].mean(1), dim=-1)
        rows = rows - (rows @ shared[..., None]) * shared[:, None, :]
        bases = bases - shared[..., None] * torch.einsum("hb,hbr->hr", shared, bases)[:, None, :]
        left, values, _ = torch.linalg.svd(bases, full_matrices=False)
        left = left * (values > 1e-5 * values[:, :1])[:, None, :]
        inside = (rows @ left).square().sum(-1) / rows.square().sum(-1).clamp_min(1e-30)
        distances = torch.full((self.rows.shape[1],), float("inf"))
        distances[allowed] = 1 - inside.mean(0)[allowed]
        return distances

    def explaining(self, white: Evidence, rows: Tensor, allowed: Tensor) -> Tensor:
        """Return allowed tokens, best first, by how much of the unexplained bases their probes explain.

        With Q an orthonormal basis of the sentence's rows, `||(B - Q Q^T B)^T z||^2 / ||z - Q Q^T z||^2`.

        Args:
            white: the evidence in the whitened metric of these probes.
            rows: (H, n, d_b) the sentence's rows in that metric.
            allowed: tokens to rank.
        """
        taken, _ = torch.linalg.qr(rows.transpose(1, 2))
        bases = white.bases.float()
        rest = bases - taken @ (taken.transpose(1, 2) @ bases)
        rows = self.rows[:, allowed]
        rows = rows - (rows @ taken) @ taken.transpose(1, 2)
        gain = (rows @ rest).square().sum(-1) / rows.square().sum(-1).clamp_min(1e-9)
        return allowed[gain.sum(0).argsort(descending=True)]


def random_context(model: PublicModel, allowed: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Return a sentence of random tokens between the model's prefix and suffix."""
    context = allowed[torch.randint(len(allowed), (length,), generator=generator)]
    prefix, suffix = model.vocabulary.prefix, model.vocabulary.suffix
    context[: len(prefix)] = torch.tensor(prefix, dtype=torch.long)
    if suffix:
        context[-len(suffix) :] = torch.tensor(suffix, dtype=torch.long)
    return context
