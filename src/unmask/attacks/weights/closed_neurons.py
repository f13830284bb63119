"""Read training images from the weight change of an ordinary training: where neurons stayed closed."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.weights.closed_columns import ClosedSearch
from unmask.weights import Activation, WeightsObservation

TURNS = 8
"""Times at most that the closed neurons are determined anew from the images."""


GAP = 4.0
"""Ratio of neighbouring singular values from which the larger is taken for the last of the images."""


PATIENCE = 3
"""Rounds without a find after which the proof is loosened, twofold each time."""

LOOSEST = 0.01
"""Where that ends."""


@dataclass(frozen=True, kw_only=True)
class ClosedNeurons:
    """Factor the change of the first layer by the zeros that closed neurons leave in it.

    Whatever the depth, the outputs and the loss, gradient descent changes the first layer of a ReLU
    network by `[dW, db] = C [X, 1]`: row k of C sums, over all steps, what came back to neuron k for
    each image, and is exactly zero for images that never opened it. Weights and gates may move, as
    long as more neurons than there are images stay closed for each. The columns of C are found one
    after another (`ClosedSearch`); each shrinks the row space in which the remaining images lie, and
    of the last one only its image is left there. Then `C^+ [dW, db]` are the images, the public
    weights before and after training say which neurons they leave closed, and that is repeated.

    The number of images, unless known, is where the singular values of the change drop. The loss of
    a guess is the share of its factor that stands at neurons which the guess leaves closed.

    Args:
        name: registered name.
        source: publication.
        search: settings of the search.
        rounds: rounds of starts at most.
    """

    name: str = "closed-neurons"
    source: str = "threat model: Loo et al., ICLR 2024, arXiv 2302.01428; the factorisation is this project's"
    search: ClosedSearch = field(default_factory=ClosedSearch)
    rounds: int = 400

    def run(self, observation: WeightsObservation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield progress after every round that found something, and the images at the end."""
        reason = _unfit(observation)
        if reason:
            yield Reconstruction(tokens=(), loss=float("inf"), note=reason, done=True)
            return
        layer = _FirstLayer(observation)
        count, found = layer.count, torch.zeros(layer.count, 0, dtype=torch.float64)
        if count == min(layer.change.shape):
            note = f"the weight change has full rank {count}: too many images for its size, or too much noise"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
            return
        turn, idle, proof = 0, 0, self.search.proof
        for turn in range(1, self.rounds + 1):
            missing = layer.missing(found)
            if len(missing) == 1:
                found = torch.cat([found, layer.vector(missing[0])[:, None]], 1)
                break
            draw = torch.randn(len(missing), self.search.starts, generator=generator, dtype=torch.float64)
            search = replace(self.search, proof=proof)
            new = search.round(layer.columns, layer.weights @ missing.T, layer.size, missing[:, :-1].sum(1), draw)
            before = found.shape[1]
            found = _distinct(found, new, count)
            if found.shape[1] == count:
                break
            idle = 0 if found.shape[1] > before else idle + 1
            if idle == PATIENCE:
                # Neurons that an image opened for a while only leave no exact zero.
                idle, proof = 0, min(2 * proof, LOOSEST)
            if found.shape[1] > before or turn % 10 == 0:
                note = f"{found.shape[1]} of {count} columns (rank of the change) after {turn} rounds"
                yield Reconstruction(tokens=(), loss=float("inf"), note=note)
        note = f"{found.shape[1]} of {count} columns (rank of the change) found in {turn} rounds"
        if found.shape[1] < count:
            yield Reconstruction(tokens=(), loss=float("inf"), note=f"only {note}", done=True)
            return
        yield _read(observation, layer, found, note)


class _FirstLayer:
    """The change `[dW, db]` (K, D + 1), its column space, and the public weights in the same form."""

    def __init__(self, observation: WeightsObservation) -> None:
        assert observation.start is not None
        model, names = observation.model, ("layer.0.weight", "layer.0.bias")
        scale = model.scale(0)
        start = [observation.start[name].double() for name in names]
        final = [observation.final[name].double() for name in names]
        # A bias that is zero at the start carries little rounding of its own.
        self.change = _joined(final[0] - start[0], (final[1] - start[1]) * scale)
        self.columns, values, right, self.count = _spectrum(self.change, observation.knowledge.count)
        self.rows = values[:, None] * right
        self.weights, self.ended = (_joined(w * scale, b) for w, b in (start, final))
        self.size = _returning(observation)

    def missing(self, found: Tensor) -> Tensor:
        """Return an orthonormal basis (m, D + 1) of the row space that found columns (r, f) leave."""
        rest = torch.linalg.qr(found, mode="complete")[0][:, found.shape[1] :] if found.shape[1] else None
        rows = self.rows if rest is None else rest.T @ self.rows
        return torch.linalg.svd(rows, full_matrices=False)[2]

    def vector(self, row: Tensor) -> Tensor:
        """Return the null vector (r,) of the neurons that an image `[x, 1]`, up to a factor, leaves closed."""
        image = row / row[-1]
        closed = (self.weights @ image < 0) & (self.ended @ image < 0)
        return torch.linalg.svd(self.columns[closed], full_matrices=False)[2][-1]


def _read(observation: WeightsObservation, layer: _FirstLayer, found: Tensor, note: str) -> Reconstruction:
    best, loss = torch.zeros(0, 0, dtype=torch.float64), float("inf")
    for _ in range(TURNS):
        factor = layer.columns @ found
        images = torch.linalg.lstsq(found, layer.rows).solution
        images, factor = images / images[:, -1:], factor * images[:, -1]
        closed = ((images @ layer.weights.T < 0) & (images @ layer.ended.T < 0)).T
        now = float((factor * closed).norm() / factor.norm())
        if not now < loss:
            break
        best, loss = images, now
        if int(closed.sum(0).min()) <= layer.count:
            break
        found = torch.stack([torch.linalg.svd(layer.columns[k], full_matrices=False)[2][-1] for k in closed.T], 1)
    if not len(best):
        return Reconstruction(tokens=(), loss=float("inf"), note=f"{note}; they span no images", done=True)
    pixels = observation.model.images(best[:, :-1]).clamp(0, 1)
    note = f"{note}; {loss:.1g} of the factor stands at neurons that the images leave closed"
    return Reconstruction(tokens=(), images=pixels, loss=loss, residual=loss, note=note, done=True)


def _spectrum(change: Tensor, count: int | None) -> tuple[Tensor, Tensor, Tensor, int]:
    """Return the singular vectors and values that images explain, and how many these are.

    Every step of a training rounds, so that the noise of the change is larger than that of its number
    format and of an unknown size. Its singular values lie close together: the images end at the
    largest ratio of neighbours, if that exceeds `GAP`.
    """
    left, values, right = torch.linalg.svd(change, full_matrices=False)
    half = len(values) // 2
    if count is None:
        floor = 2.0**-48 * float(values[0])
        ratios = values[:half].clamp_min(floor) / values[1 : half + 1].clamp_min(floor)
        count = int(ratios.argmax()) + 1 if float(ratios.max()) > GAP else len(values)
    return left[:, :count], values[:count], right[:count], count


def _returning(observation: WeightsObservation) -> Tensor:
    """Return the typical size (K,) of what comes back to each neuron of the first layer, from the public weights."""
    assert observation.start is not None
    behind = torch.ones(observation.model.outputs, dtype=torch.float64)
    for layer in range(observation.model.layers - 1, 0, -1):
        behind = behind @ observation.start[f"layer.{layer}.weight"].double().square()
    size = behind.sqrt()
    return size.clamp_min(0.05 * float(size.median()))


def _distinct(found: Tensor, new: Tensor, count: int) -> Tensor:
    for vector in new.T:
        if found.shape[1] < count and (not found.shape[1] or float((found.T @ vector).abs().max()) < 0.999):
            found = torch.cat([found, vector[:, None]], 1)
    return found


def _joined(weight: Tensor, bias: Tensor) -> Tensor:
    return torch.cat([weight, bias[:, None]], 1)


def _unfit(observation: WeightsObservation) -> str:
    if observation.start is None:
        return "needs the weights before training"
    if observation.model.activation is not Activation.RELU:
        return "neurons are closed for ReLU only"
    return "" if observation.model.bias else "needs biases, which tell the size of an image"
