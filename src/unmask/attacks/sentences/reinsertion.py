"""Delete a suspicious word and insert another elsewhere: what lies between moves, so only replays can tell."""

import torch
from torch import Tensor

from unmask.attacks.evidence import AT_ONCE, Evidence
from unmask.attacks.sentences.frozen import substitutions
from unmask.attacks.sentences.neighbours import holes

SUSPECTS = 3
HOLES = 4
FILLED = 8


def reinserted(evidence: Evidence, sentence: Tensor, free: Tensor, own: Tensor, pool: Tensor) -> Tensor:
    """Return sentences (M, n) in which one of the worst words was deleted and a pool token inserted anywhere.

    A frozen context cannot judge a shift of many words, each of which would see the old places
    of the others. Every place of the hole is replayed with the hole's own row left out; the best
    holes are then filled by their frozen scores.

    Args:
        evidence: in any metric.
        sentence: (n,).
        free: (N,) positions that may change.
        own: (N,) distance of the sentence's own rows to the span.
        pool: (K,) tokens that may come in.
    """
    count = len(free)
    order, hole = holes(count)
    suspects = own.topk(min(SUSPECTS, count)).indices
    chosen = (suspects[:, None] * count + torch.arange(count)).flatten()
    sentences = sentence.repeat(len(chosen), 1)
    sentences[:, free] = sentence[free][order[chosen]]
    empty = free[hole[chosen]]
    best = _without(evidence, sentences, empty).argsort()[:HOLES]
    found = []
    for k in best.tolist():
        table = substitutions(evidence, sentences[k], empty[k : k + 1], pool)
        likely = table.scores(torch.arange(len(pool))[:, None]).argsort()[:FILLED]
        filled = sentences[k].repeat(len(likely), 1)
        filled[:, empty[k]] = pool[likely]
        found.append(filled)
    return torch.cat(found)


def _without(evidence: Evidence, sentences: Tensor, empty: Tensor) -> Tensor:
    """Return the unexplained shares (M,) when one position's row does not count."""
    parts = []
    for part, hole in zip(sentences.split(AT_ONCE), empty.split(AT_ONCE), strict=True):
        inputs = evidence.model.inputs(part, [evidence.place])[evidence.place.name]
        kept = torch.arange(part.shape[1]) != hole[:, None]
        parts.append(evidence.of_inputs(inputs[kept].unflatten(0, (len(part), -1))))
    return torch.cat(parts)
