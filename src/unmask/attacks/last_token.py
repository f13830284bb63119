"""Read the token that a language model predicted last: it is no input, but the gradient is linear in it."""

import torch
from torch import Tensor

from unmask.attacks.replay import Replay
from unmask.observation import Observation
from unmask.public import Place

DIRECTIONS = 16
REPLAYED = 32


def last_token(
    observation: Observation, prefix: Tensor, places: list[Place], generator: torch.Generator
) -> tuple[int, float]:
    """Return the last token of a sequence whose other tokens are known, and the replay residual.

    The loss is linear in the target distribution q of the last position, so
    `<D, G(q)> = c + sum_t q_t s_t` for any direction D, and one second backward pass gives all
    s_t. A few directions leave the one token that agrees with `<D, G>` in each of them.

    Args:
        observation: what was seen.
        prefix: (n - 1,) the known tokens.
        places: visible linear places.
        generator: source of the directions.
    """
    model = observation.model
    size = model.vocabulary.size
    ids = torch.cat([prefix, prefix[-1:]])[None]
    wide = model.embedding().shape[0]
    known = torch.nn.functional.one_hot(ids, wide).float()
    soft = torch.full((wide,), 1.0 / wide, requires_grad=True)
    targets = torch.cat([known[:, :-1], soft[None, None]], 1)
    found = model.gradients(ids, targets, places, differentiable=True)
    misfit = torch.zeros(wide)
    for _ in range(DIRECTIONS):
        value, seen = torch.zeros(()), 0.0
        for place in places:
            target = observation.tensors[place.name]
            direction = torch.randn(target.shape, generator=generator) * target.abs().mean() + target
            value = value + (direction * found[place.name][0]).sum()
            seen += float((direction * target).double().sum())
        (slope,) = torch.autograd.grad(value, soft, retain_graph=True)
        constant = float(value.detach()) - float((slope * soft.detach()).sum())
        misfit += ((constant + slope - seen) / slope.std()).square()
    best = misfit[:size].argsort()[:REPLAYED]
    return _replayed(observation, prefix, best)


def _replayed(observation: Observation, prefix: Tensor, tokens: Tensor) -> tuple[int, float]:
    replay = Replay.of(observation, torch.ones(1, len(prefix) + 1, dtype=torch.bool))
    trials = torch.cat([prefix.expand(len(tokens), -1), tokens[:, None]], 1)
    residuals = [replay.residual(ids[None], ids[None]) for ids in trials]
    k = min(range(len(residuals)), key=residuals.__getitem__)
    return int(tokens[k]), residuals[k]
