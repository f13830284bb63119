"""Read a causal model's text token by token: what stands at a position depends on its prefix alone."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attacks.activations.token_response import Features, ranked
from unmask.attacks.threshold import between
from unmask.public import PublicModel
from unmask.site import Site

LIKELY = 32
"""Tokens tried first, in the order of the model's own next-token probability."""
BATCH, GROWTH, LARGEST = 64, 1.5, 2048
"""Tokens of the first round that follows the predictions, growth of the later ones, and their limit."""
ROUNDS = 14
BEAM = 8
NOISY_ROUNDS = 3
AT_ONCE = 256


@dataclass(kw_only=True, eq=False)
class RowSearch:
    """Depth-first search over prefixes whose every row equals one that was seen.

    Args:
        model: the public model, a causal one.
        site: a site with one row per token.
        rows: (n, d) rows seen, in their order unless `permuted`.
        noise: (n,) expected squared relative error of each row; zeros for an exact release.
        permuted: whether the rows come in an unknown order.
        allowed: token ids that may occur.
        inside: squared relative distances of true rows in a rehearsal, for the threshold.
    """

    model: PublicModel
    site: Site
    rows: Tensor
    noise: Tensor
    permuted: bool
    allowed: Tensor
    inside: Tensor
    forwarded: int = field(default=0, init=False)
    """Tokens put through the model, those of prefixes included."""

    def run(self) -> Iterator[tuple[tuple[int, ...], float]]:
        """Yield (prefix, largest squared relative distance) as it grows; the longest is the answer."""
        stack: list[tuple[tuple[int, ...], tuple[int, ...], float]] = [((), (), 0.0)]
        known = self.model.vocabulary.prefix
        while stack:
            prefix, taken, worst = stack.pop()
            yield prefix, worst
            if len(prefix) == len(self.rows):
                return
            pool = torch.tensor(known[len(prefix) : len(prefix) + 1]) if len(prefix) < len(known) else None
            for token, row, distance in reversed(self._extensions(prefix, taken, pool)):
                stack.append(((*prefix, token), (*taken, row), max(worst, distance)))

    def _extensions(
        self, prefix: tuple[int, ...], taken: tuple[int, ...], pool: Tensor | None
    ) -> list[tuple[int, int, float]]:
        """Return (token, row, distance) of the tokens that may come next, surest first; none if none does."""
        left = [i for i in range(len(self.rows)) if i not in taken] if self.permuted else [len(prefix)]
        trial = _Trial(self, torch.tensor(prefix, dtype=torch.long), torch.tensor(left))
        if pool is not None:
            trial.add(pool)
            return trial.best(1)
        exact = float(self.noise[left].max()) == 0
        likely = self._likely(trial.prefix)
        trial.add(likely[:LIKELY])
        if exact and trial.found(len(self.allowed)):
            return trial.found(len(self.allowed))
        trial.add(Features.cached(self.model, self.allowed).sample)
        size = float(BATCH)
        for _ in range(ROUNDS if exact else NOISY_ROUNDS):
            found = trial.found(len(self.allowed))
            if exact and found:
                return found
            order = trial.ranked()
            if not len(order):
                break
            trial.add(order[: int(size)])
            size = min(size * GROWTH, LARGEST)
        if exact:
            while not trial.found(len(self.allowed)) and len(order := trial.ranked()):
                trial.add(order[: 4 * LARGEST])
            return trial.found(len(self.allowed))
        return trial.best(1)

    def _likely(self, prefix: Tensor) -> Tensor:
        # Before the first token any special token may stand; each has its own idea of a beginning.
        contexts = [prefix] if len(prefix) else [torch.tensor([t]) for t in sorted(self.model.vocabulary.special)[:4]]
        logits = self.model.next_token_logits(torch.stack(contexts)) if contexts else None
        if logits is None:
            return self.allowed[:0]
        self.forwarded += sum(map(len, contexts))
        chances = logits.log_softmax(1).mean(0)[self.allowed]
        return self.allowed[chances.argsort(descending=True)]

    def responses(self, prefix: Tensor, tokens: Tensor) -> Tensor:
        """Return what stands at the site (C, d) if each of the tokens followed the prefix.

        Args:
            prefix: (t,) ids.
            tokens: (C,) ids.
        """
        self.forwarded += len(tokens) + len(prefix) * -(-len(tokens) // AT_ONCE)
        return self.model.substituted_activations(prefix, torch.full((len(tokens),), len(prefix)), tokens, self.site)


class _Trial:
    """The tokens tried at one position, their responses, and how far these lie from the rows that are left."""

    def __init__(self, search: RowSearch, prefix: Tensor, left: Tensor) -> None:
        self.search, self.prefix, self.left = search, prefix, left
        self.tokens = torch.zeros(0, dtype=torch.long)
        self.responses = torch.zeros(0, search.rows.shape[1])
        self.distances = torch.zeros(0, len(left), dtype=torch.float64)

    def add(self, tokens: Tensor) -> None:
        fresh = tokens[~torch.isin(tokens, self.tokens)]
        if not len(fresh):
            return
        found = self.search.responses(self.prefix, fresh)
        seen = self.search.rows[self.left].double()
        # In float64, because the threshold lies far below what float32 resolves in a difference of norms.
        away = torch.cdist(found.double(), seen).square() / seen.square().sum(-1).clamp_min(1e-30)
        self.tokens = torch.cat([self.tokens, fresh])
        self.responses = torch.cat([self.responses, found])
        self.distances = torch.cat([self.distances, away])

    def found(self, tests: int) -> list[tuple[int, int, float]]:
        """Return the tokens whose response is a row, to rounding; the threshold is measured on the others."""
        flat = self.distances.amin(1)
        if len(flat) < 2:
            return []
        least = int(flat.argmin())
        null = torch.cat([flat[:least], flat[least + 1 :]])
        limit = between(self.search.inside, null, tests)
        return [each for each in self.best(BEAM) if each[2] < limit]

    def best(self, count: int) -> list[tuple[int, int, float]]:
        nearest = self.distances.min(1)
        order = nearest.values.argsort()[:count].tolist()
        return [(int(self.tokens[k]), int(self.left[nearest.indices[k]]), float(nearest.values[k])) for k in order]

    def ranked(self) -> Tensor:
        """Return the allowed tokens that were not tried, likeliest first by their predicted response."""
        features = Features.cached(self.search.model, self.search.allowed)
        drawn = torch.isin(self.tokens, features.sample)
        # The sample in its own order and first, so that its products need not be computed again.
        place = {int(token): index for index, token in enumerate(self.tokens.tolist())}
        order = torch.tensor([place[int(t)] for t in features.sample.tolist()] + (~drawn).nonzero()[:, 0].tolist())
        tokens = self.tokens[order]
        order = ranked(features.products_with(tokens), tokens, self.responses[order], self.search.rows[self.left])
        order = order[torch.isin(order, self.search.allowed)]
        return order[~torch.isin(order, self.tokens)]


def rehearsed(model: PublicModel, site: Site, allowed: Tensor, generator: torch.Generator, length: int = 12) -> Tensor:
    """Return squared relative distances (n,) that rounding alone puts between a text's rows and their replay.

    Args:
        model: the public model.
        site: a site with one row per token.
        allowed: token ids that may occur.
        generator: source of the public text.
        length: its number of tokens.
    """
    ids = allowed[torch.randint(len(allowed), (min(length, model.max_length),), generator=generator)]
    whole = model.activations(ids[None], [site])[site.name][0].double()
    again = [
        model.substituted_activations(ids[:t], torch.tensor([t]), ids[t : t + 1], site)[0].double()
        for t in range(len(ids))
    ]
    away = (torch.stack(again) - whole).square().sum(1) / whole.square().sum(1).clamp_min(1e-30)
    return away.clamp_min(math.ulp(1.0))
