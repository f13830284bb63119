"""Rank the whole vocabulary for every position before any sequence is tried."""

import torch
from torch import Tensor

from unmask.attacks.layout import Layout, allowed_tokens
from unmask.attacks.spans import Spans
from unmask.attacks.vocabulary_test import vocabulary_distances
from unmask.observation import Observation
from unmask.public import Component, InputTable, Place, PublicModel
from unmask.subspace import Subspace, span_distance

RIDGE = 0.02
CONTEXTS = 12
SAMPLED = 128
PROBED_AT_ONCE = 512


def token_scores(observation: Observation, known: Layout, spans: Spans, generator: torch.Generator) -> Tensor:
    """Return scores (n, V), low where a token is likely at a position; tokens never allowed get infinity.

    Where a place's input has a closed form the score is its soft span distance. Elsewhere every
    token is probed once in a random context and the score is the same at all positions. Places
    add up after each was brought to zero mean and unit deviation over the vocabulary.
    """
    allowed = allowed_tokens(observation)
    width = known.ids.shape[1]
    total = torch.zeros(width, len(allowed), dtype=torch.float64)
    tables = [place for place in spans.places if observation.model.input_table(place) is not None]
    # Exact closed forms make probes of the other places superfluous.
    for place in tables or spans.places:
        space = spans.subspaces[place.name]
        table = observation.model.input_table(place)
        if table is None:
            part = probed_scores(observation.model, place, space, known, allowed, generator)[None].expand(width, -1)
        else:
            part = table_scores(table, place, space, known, allowed)
        total += (part - part.mean(1, keepdim=True)) / part.std(1, keepdim=True).clamp_min(1e-12)
    scores = torch.full((width, observation.model.vocabulary.size), float("inf"), dtype=torch.float64)
    scores[:, allowed] = total
    return scores


def table_scores(table: InputTable, place: Place, space: Subspace, known: Layout, allowed: Tensor) -> Tensor:
    """Return the span distance (n, A) of every allowed token at every position."""
    reference = table.rows(known.ids[0, 0], torch.tensor(0)) if place.component is Component.KEY else None
    return vocabulary_distances(table, space, known.ids.shape[1], reference=reference)[allowed].T


def probed_scores(
    model: PublicModel, place: Place, space: Subspace, known: Layout, allowed: Tensor, generator: torch.Generator
) -> Tensor:
    """Return a context-free score (A,) of every allowed token at a place that mixes positions.

    A token's input there is its own mean plus what the context adds. The covariance C of the
    latter, measured on a sample of tokens in several random contexts, is whitened away (ridge
    0.02 of the mean eigenvalue), the mean direction that all tokens share is deflated, and the
    score is the span distance of what is left: `z = C^{-1/2} h`, basis `C^{-1/2} B`.
    """
    length = known.lengths[0]
    sample = allowed[torch.randperm(len(allowed), generator=generator)[:SAMPLED]]
    drawn = [_probe(model, place, _context(known, allowed, generator), sample, length // 2) for _ in range(CONTEXTS)]
    stacked = torch.stack(drawn).double()
    within = (stacked - stacked.mean(0)).flatten(0, 1)
    covariance = within.T @ within / (len(sample) * (CONTEXTS - 1))
    values, vectors = torch.linalg.eigh(covariance)
    white = (vectors * (values.clamp_min(0) + RIDGE * values.mean()).rsqrt()) @ vectors.T
    context = _context(known, allowed, generator)
    rows = torch.cat(
        [_probe(model, place, context, part, length // 2).double() @ white for part in allowed.split(PROBED_AT_ONCE)]
    )
    shared = torch.nn.functional.normalize(rows.mean(0), dim=0)
    basis = white @ (space.basis * space.weights.sqrt())
    if place.component is Component.KEY:
        rows = rows - rows.mean(0)
    rows, basis = rows - torch.outer(rows @ shared, shared), basis - torch.outer(shared, shared @ basis)
    left, strength, _ = torch.linalg.svd(basis, full_matrices=False)
    kept = left[:, strength > 1e-3 * strength[0]]
    return span_distance(
        rows, Subspace(basis=kept, weights=torch.ones(kept.shape[1], dtype=torch.float64), rank=kept.shape[1])
    )


def _context(known: Layout, allowed: Tensor, generator: torch.Generator) -> Tensor:
    drawn = allowed[torch.randint(len(allowed), known.ids[0].shape, generator=generator)]
    return torch.where(known.free[0], drawn, known.ids[0])[: known.lengths[0]]


def _probe(model: PublicModel, place: Place, context: Tensor, tokens: Tensor, position: int) -> Tensor:
    return model.substituted_inputs(context, torch.full((len(tokens),), position), tokens, place)
