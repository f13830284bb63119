"""Read the token that a language model predicted last: it is no input, but the gradient is linear in it."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from unmask.attacks.replay import Replay
from unmask.observation import Observation
from unmask.public import Place

DIRECTIONS = 16
REPLAYED = 32

Draw = Callable[[], Mapping[str, Tensor]]
"""Returns a random direction in the space of the gradient, by place name."""


def last_token(
    observation: Observation, prefix: Tensor, places: Sequence[Place], generator: torch.Generator
) -> tuple[int, float]:
    """Return the last token of a sequence whose other tokens are known, and the replay residual.

    Args:
        observation: what was seen.
        prefix: (n - 1,) the known tokens.
        places: visible linear places.
        generator: source of the directions.
    """

    def draw() -> dict[str, Tensor]:
        seen = {place.name: observation.tensors[place.name] for place in places}
        return {
            name: torch.randn(tensor.shape, generator=generator) * tensor.abs().mean() + tensor
            for name, tensor in seen.items()
        }

    best = _misfit(observation, prefix, places, draw, share=1.0).argsort()[:REPLAYED]
    replay = Replay.of(observation, torch.ones(1, len(prefix) + 1, dtype=torch.bool))
    trials = torch.cat([prefix.expand(len(best), -1), best[:, None]], 1)
    residuals = [replay.residual(ids[None], ids[None]) for ids in trials]
    k = min(range(len(residuals)), key=residuals.__getitem__)
    return int(best[k]), residuals[k]


def last_tokens(
    observation: Observation, prefixes: Sequence[tuple[int, ...]], place: Place, generator: torch.Generator
) -> tuple[tuple[int, ...], ...]:
    """Return the sequences of a batch with their last tokens, each read on its own.

    `dW = sum_i dy_i x_i^T` over all positions of all sequences, whose inputs x_i are known. With the
    dual vectors x*_i of independent inputs, `<sum_i r_i x*_i^T, dW> = sum_i r_i dy_i`: directions
    made of one sequence's dual vectors see nothing of the other sequences. Sequences that begin alike
    share the inputs of their beginning, which therefore count once and belong to neither.

    Args:
        observation: what was seen.
        prefixes: the known tokens of every sequence.
        place: a visible linear place that all their inputs reach.
        generator: source of the directions.
    """
    rows, owners = _distinct_inputs(observation, prefixes, place)
    duals = torch.linalg.pinv(rows.double()).T
    predicted = sum(map(len, prefixes))
    found = []
    for index, prefix in enumerate(prefixes):
        own = duals[[k for k, owner in enumerate(owners) if owner == index]]

        def draw(dual: Tensor = own) -> dict[str, Tensor]:
            weights = torch.randn(place.shape[0], len(dual), generator=generator, dtype=torch.float64)
            return {place.name: weights @ dual}

        misfit = _misfit(observation, torch.tensor(prefix), [place], draw, share=len(prefix) / predicted)
        found.append((*prefix, int(misfit.argmin())))
    return tuple(found)


def _distinct_inputs(
    observation: Observation, prefixes: Sequence[tuple[int, ...]], place: Place
) -> tuple[Tensor, list[int | None]]:
    """Return every distinct input (N, d_in), and which sequence it belongs to alone, None if to several."""
    rows: dict[tuple[int, ...], Tensor] = {}
    owners: dict[tuple[int, ...], int | None] = {}
    for index, prefix in enumerate(prefixes):
        inputs = observation.model.inputs(torch.tensor([prefix]), [place])[place.name][0]
        for end in range(1, len(prefix) + 1):
            owners[prefix[:end]] = None if prefix[:end] in rows else index
            rows[prefix[:end]] = inputs[end - 1]
    return torch.stack(list(rows.values())), list(owners.values())


def _misfit(observation: Observation, prefix: Tensor, places: Sequence[Place], draw: Draw, *, share: float) -> Tensor:
    """Return how badly each token (V,), put last, agrees with the gradient in a few directions.

    The loss is linear in the target distribution q of the last position, so
    `<D, G(q)> = c + sum_t q_t s_t` for any direction D, and one second backward pass gives all
    s_t. A few directions leave the one token that agrees with `<D, G>` in each of them.

    Args:
        observation: what was seen.
        prefix: (n - 1,) the known tokens.
        places: where the directions are.
        draw: draws a direction that sees nothing of other sequences.
        share: of the sequence in the batch loss.
    """
    model = observation.model
    size, wide = model.vocabulary.size, model.embedding().shape[0]
    ids = torch.cat([prefix, prefix[-1:]])[None]
    known = torch.nn.functional.one_hot(ids, wide).float()
    soft = torch.full((wide,), 1.0 / wide, requires_grad=True)
    targets = torch.cat([known[:, :-1], soft[None, None]], 1)
    found = model.gradients(ids, targets, places, differentiable=True)
    misfit = torch.zeros(size)
    for _ in range(DIRECTIONS):
        value, seen = torch.zeros(()), 0.0
        for name, direction in draw().items():
            value = value + share * (direction.to(found[name].dtype) * found[name][0]).sum()
            seen += float((direction.double() * observation.tensors[name]).sum())
        (slope,) = torch.autograd.grad(value, soft, retain_graph=True)
        constant = float(value.detach()) - float((slope * soft.detach()).sum())
        misfit += ((constant + slope[:size] - seen) / slope[:size].std()).square()
    return misfit
