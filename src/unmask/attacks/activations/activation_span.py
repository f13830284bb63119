"""Recover a text from activations: by a closed form, token by token, or by fitting its embeddings."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.activations.activation_target import Target, noise_share
from unmask.attacks.activations.embedding_descent import Codebook
from unmask.attacks.activations.first_rows import before_projection, head_distances, read_rows, row_map
from unmask.attacks.activations.row_search import RowSearch, rehearsed
from unmask.attacks.activations.snapping import Snapping
from unmask.observation import Activations
from unmask.public import PublicModel
from unmask.rng import generator as named
from unmask.site import Signal, Site

SOLVED = 1e-4
"""Residual that a replay of the true text stays below in float32; measured 1e-7 to 1e-6."""
FEW = 2
"""Heads whose spans are tried first: two mostly name every token, and the replay tells."""
_ROWS = (Signal.HIDDEN, Signal.VALUE, Signal.KEY, Signal.BLOCK, Signal.HEADS)
"""Signals with one row per token, those that say most about it first."""


@dataclass(frozen=True, kw_only=True)
class ActivationSpan:
    """Recover one text exactly from what stood at some sites of a forward pass.

    A first layer's keys and values are affine images of one token each, and a head's outputs span its
    values while the text is shorter than the head is wide: a product of matrices tests every token at every
    position. What stood before an output projection is had by undoing it. A causal model's row depends on
    its prefix alone, so its text is read token by token, each proved by its row. Everything else is fitted:
    embeddings as unknowns, as many equations as unknowns, then tokens fixed from the plainest on. A text
    proves itself: its replay equals what was seen.

    Args:
        name: registered name.
        source: publication.
        seed: seed of the public rehearsals, which depend on the model alone.

    Source:
        Deng et al. 2023 for the question, Nikolaou et al. 2025 (SipIt) for reading hidden states of causal
        models one token at a time; the shortlist by predicted response, the closed forms and the search by
        fitting and fixing are this project's own.
    """

    name: str = field(default="activation-span")
    source: str = field(default="Deng et al. 2023, Nikolaou et al. 2025, and this project")
    seed: int = field(default=0)

    def run(self, observation: Activations[PublicModel], generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield guesses until one is proved or nothing is left to try.

        Args:
            observation: what was seen.
            generator: not used: nothing here is left to chance.
        """
        knowledge, model = observation.knowledge, observation.model
        if knowledge.kept is None and knowledge.length is None:
            note = "rows are missing, and neither which nor how many is known"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
            return
        target = Target.of(observation)
        direct = [site for site in target.sites if row_map(model, site) is not None]
        whole = len(target.rows) == target.length
        if direct and whole and knowledge.clip is None:
            guess = self._direct(observation, target, direct[0])
            # Each row was compared with every token at once: a rough release leaves nothing better to do.
            yield replace(guess, done=guess.done or not knowledge.exact)
            if guess.done or not knowledge.exact:
                return
        if model.causal and whole and knowledge.clip is None and _row_sites(target):
            yield from self._causal(observation, target)
            return
        if whole and knowledge.clip is None:
            for guess in self._spans(observation, target):
                yield guess
                if guess.done:
                    return
        yield from self._fitted(observation, target)

    def _direct(self, observation: Activations[PublicModel], target: Target, site: Site) -> Reconstruction:
        found = row_map(target.model, site)
        assert found is not None  # the caller chose such a site
        positions = range(target.length)
        tokens, distances = read_rows(*found, observation.tensors[site.name], positions, target.allowed)
        ids = target.ids.clone()
        if not observation.knowledge.permuted:
            ids = torch.where(target.free, tokens.diagonal(), ids)
        else:
            # Each position takes the row that fits it best; models without positions keep the rows' order.
            order = distances.argmin(0) if found[0].position is not None else torch.arange(len(ids))
            ids = torch.where(target.free, tokens[order, torch.arange(len(ids))], ids)
        return self._judged(target, ids, note=f"closed form of {site.name}", permuted=observation.knowledge.permuted)

    def _spans(self, observation: Activations[PublicModel], target: Target) -> Iterator[Reconstruction]:
        permuted = observation.knowledge.permuted
        for site in target.sites:
            rows = observation.tensors[site.name]
            if site.signal not in (Signal.HEADS, Signal.BLOCK):
                continue
            share = noise_share(observation, site.name)
            noise = float((share * rows.double().square().sum(1)).mean() / rows.shape[1]) ** 0.5
            before = before_projection(target.model, site, rows, noise) or (site, rows, noise)
            for most in (FEW, None):
                distances = head_distances(target.model, *before[:2], target.length, noise=before[2], most=most)
                if distances is None:
                    break
                tokens = target.allowed[distances[target.allowed].argmin(0)]
                ids = torch.where(target.free, tokens, target.ids)
                yield self._judged(target, ids, note=f"span of {site.name}", permuted=permuted)

    def _causal(self, observation: Activations[PublicModel], target: Target) -> Iterator[Reconstruction]:
        site = _row_sites(target)[0]
        share = noise_share(observation, site.name)
        search = RowSearch(
            model=target.model,
            site=site,
            rows=observation.tensors[site.name],
            noise=share,
            permuted=observation.knowledge.permuted,
            allowed=target.allowed,
            inside=rehearsed(target.model, site, target.allowed, named(self.seed, "rehearsal", site.name)),
        )
        best: tuple[int, ...] = ()
        for prefix, _ in search.run():
            if len(prefix) > len(best) or len(prefix) == target.length:
                best = prefix
                left = 1 - len(prefix) / target.length
                yield Reconstruction(tokens=(prefix,), loss=1 + left, note=f"{search.forwarded} tokens forwarded")
        note = f"{search.forwarded} tokens forwarded from {site.name}"
        if len(best) < target.length:
            note += f"; no token continues it after {len(best)} of {target.length}"
            yield Reconstruction(tokens=(best,), loss=1.0, note=note, done=True)
            return
        permuted = observation.knowledge.permuted
        yield replace(self._judged(target, torch.tensor(best), note=note, permuted=permuted), done=True)

    def _fitted(self, observation: Activations[PublicModel], target: Target) -> Iterator[Reconstruction]:
        search = Snapping(
            target=target, codebook=Codebook.of(target.model.embedding().detach(), target.allowed), exact=SOLVED
        )
        for ids, residual, leads in search.run():
            yield Reconstruction(
                tokens=(tuple(ids.tolist()),),
                loss=residual,
                residual=residual,
                confidence=(tuple(leads.clamp(0, 1).tolist()),),
                note=f"{search.descent.passes} passes",
                done=residual <= SOLVED and observation.knowledge.exact,
            )

    def _judged(self, target: Target, ids: Tensor, *, note: str, permuted: bool = False) -> Reconstruction:
        residual = target.permuted_residual(ids) if permuted else float(target.residuals(ids[None])[0])
        return Reconstruction(
            tokens=(tuple(ids.tolist()),), loss=residual, residual=residual, note=note, done=residual <= SOLVED
        )


def _row_sites(target: Target) -> list[Site]:
    found = [site for site in target.sites if site.signal in _ROWS]
    return sorted(found, key=lambda site: (site.layer, site.head is not None, _ROWS.index(site.signal)))
