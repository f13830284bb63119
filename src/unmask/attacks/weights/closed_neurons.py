"""Read training images from the weight change of an ordinary training: where neurons stayed closed."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.weights.closed_columns import ClosedSearch, Way, distinct
from unmask.attacks.weights.first_layer_change import FirstLayer
from unmask.weights import Activation, WeightsObservation

TURNS = 8
"""Times at most that the closed neurons are determined anew from the images."""


FEWEST, MOST = 0.9, 1.15
"""A column that vanishes at fewer or more neurons than these shares of the median one is taken for a mixture."""

WAYS = (Way.PLAIN, Way.APART, Way.DIRECT)
"""How rounds search, in turn."""

FEW, SMALL = 2, 16
"""A round that finds fewer columns than this ends its way; direct guesses are for row spaces up to this size."""

PATIENCE = 6
"""Rounds without a find after which the proof is loosened, twofold each time."""

LOOSEST = 0.01
"""Where that ends."""

DEPENDENT = 0.01
"""Smallest singular value, of columns of norm 1, below which one of them is a mixture of others."""

INVOLVED = 0.05
"""Share of the largest coefficient of a dependence from which a column takes part in it."""


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
        layer = FirstLayer(observation)
        count, found = layer.count, torch.zeros(layer.count, 0, dtype=torch.float64)
        if count == min(layer.change.shape):
            note = f"the weight change has full rank {count}: too many images for its size, or too much noise"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
            return
        turn, idle, way, proof = 0, 0, 0, max(self.search.proof, layer.noise)
        for turn in range(1, self.rounds + 1):
            missing = layer.missing(found)
            if len(missing) == 1:
                last = layer.vector(missing[0])[None]
                found = torch.cat([found, self.search.settle(layer.columns, layer.size, last)[0].T], 1)
                break
            search = replace(self.search, proof=proof)
            features, bright = layer.weights @ missing.T, missing[:, :-1].sum(1)
            if WAYS[way] is Way.DIRECT and len(missing) > SMALL:
                way = 0
            new = search.round(layer.columns, features, layer.size, bright, generator, found, WAYS[way])
            before = found.shape[1]
            found = distinct(found.T, new.T)[:count].T
            found = _independent(layer, _usual(layer, found, proof), proof)
            if found.shape[1] == count:
                break
            idle = 0 if found.shape[1] > before else idle + 1
            way = way if found.shape[1] >= before + FEW else (way + 1) % len(WAYS)
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
        yield _read(observation, layer, found, proof, note)


def _read(observation: WeightsObservation, layer: FirstLayer, found: Tensor, proof: float, note: str) -> Reconstruction:
    """Return the images of all columns; each may give its own column a larger support of zeros, and so mend others.

    A mixture of two columns spoils the image of the other one, not its own, of which the neurons that
    stay closed then show the column alone.
    """
    for _ in range(TURNS):
        closed, _ = _closed(layer, _images(layer, found))
        new = torch.stack([_vanishing(layer.columns[k], v) for k, v in zip(closed.T, found.T, strict=True)], 1)
        better = _zeros(layer, new, proof) > _zeros(layer, found, proof)
        if not bool(better.any()):
            break
        found = torch.where(better, new, found)
    images = _images(layer, found)
    closed, loss = _closed(layer, images)
    pixels = observation.model.images(images[:, :-1]).clamp(0, 1)
    note = f"{note}; {loss:.1g} of the factor stands at neurons that the images leave closed"
    return Reconstruction(tokens=(), images=pixels, loss=loss, residual=loss, note=note, done=True)


def _images(layer: FirstLayer, found: Tensor) -> Tensor:
    images = torch.linalg.lstsq(found, layer.rows).solution
    return images / images[:, -1:]


def _closed(layer: FirstLayer, images: Tensor) -> tuple[Tensor, float]:
    """Return which neurons (K, N) images leave closed before and after training, and the factor's share there."""
    closed = ((images @ layer.weights.T < 0) & (images @ layer.ended.T < 0)).T
    factor = torch.linalg.lstsq(images.T, layer.rows.T).solution.T
    factor = layer.columns @ factor
    return closed, float((factor * closed).norm() / factor.norm())


def _zeros(layer: FirstLayer, found: Tensor, proof: float) -> Tensor:
    """Return the number of neurons at which each column vanishes."""
    return ((layer.columns @ found).abs() < 4 * proof * len(layer.columns) ** -0.5).sum(0)


def _usual(layer: FirstLayer, found: Tensor, proof: float) -> Tensor:
    """Return the columns with about as many zeros as most; the others make room again.

    A mixture of columns vanishes at fewer neurons than any column alone. The difference of two that are
    alike vanishes, or nearly, wherever both images are open as well.
    """
    if found.shape[1] < 3:
        return found
    zeros = _zeros(layer, found, proof)
    middle = zeros.median()
    return found[:, (zeros >= FEWEST * middle) & (zeros <= MOST * middle)]


def _independent(layer: FirstLayer, found: Tensor, proof: float) -> Tensor:
    """Return the columns without mixtures of others among them, which would leave an image out of the row space.

    A mixture has fewer zeros than what it is made of, however little: of the columns that take part in a
    dependence the one with the fewest goes.
    """
    zeros = _zeros(layer, found, proof)
    while found.shape[1] > 1:
        _, values, right = torch.linalg.svd(found / found.norm(dim=0))
        if float(values[-1]) > DEPENDENT:
            break
        involved = right[-1].abs() > INVOLVED * right[-1].abs().max()
        worst = int(torch.where(involved, zeros, len(layer.columns)).argmin())
        kept = torch.arange(found.shape[1]) != worst
        found, zeros = found[:, kept], zeros[kept]
    return found


def _vanishing(rows: Tensor, vector: Tensor) -> Tensor:
    """Return the null vector of closed neurons, less those that training may have opened for a while.

    It begins with all of them: on fewer a mixture of two columns vanishes too.
    """
    if len(rows) <= 2 * rows.shape[1]:
        return vector
    vector = torch.linalg.svd(rows, full_matrices=False)[2][-1]
    for share in (0.95, 0.9, 0.9, 0.85, 0.85):
        kept = (rows @ vector).abs().topk(int(share * len(rows)), largest=False).indices
        vector = torch.linalg.svd(rows[kept], full_matrices=False)[2][-1]
    return vector


def _unfit(observation: WeightsObservation) -> str:
    if observation.start is None:
        return "needs the weights before training"
    if observation.model.activation is not Activation.RELU:
        return "neurons are closed for ReLU only"
    return "" if observation.model.bias else "needs biases, which tell the size of an image"
