"""Read training images from a weight change: gates as binary factors, then linear algebra."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from unmask.attack import Reconstruction
from unmask.attacks.weights.binary_factors import BinarySearch
from unmask.attacks.weights.gate_images import read, row_spaces
from unmask.attacks.weights.last_column import last_column
from unmask.attacks.weights.weight_span import column_space, rounding_deviation
from unmask.weights import Activation, WeightsObservation


@dataclass(frozen=True, kw_only=True)
class ParameterSpan:
    """Factor the change of the last hidden layer into gates, duals and inputs; undo the layers below.

    Trained as its tangent, a ReLU network with output weights `a` changes in its last hidden layer by
    `[dW_k, db_k] = a_k sum_i alpha_i 1[w_k . h_i + b_k > 0] [h_i, 1]`. Divided by `a_k` this is
    `G diag(alpha) [H, 1]` with G of zeros and ones. Its column space is that of G, in which the
    columns of G are found (`BinarySearch`, `last_column`); then `G^+ [...]` gives `alpha` and `alpha_i h_i`. Below,
    `h = relu(W h' + b)` is solved on its active rows for `h'` in the row space of the change of W.
    Without biases only `alpha_i h_i` is known: images are then right up to a positive factor, and
    the largest pixel is set to 1.

    The number of images is the rank of the factored matrix above a replica of the rounding noise.
    The loss of a guess is its replay residual.

    Args:
        name: registered name.
        source: publication.
        search: settings of the search for gates.
        spread: neurons whose output weight is below this share of the median are left out, because
            division by it amplifies rounding.
        polish: times at most that gates are recomputed from the images they gave; the guess of the
            least replay residual is kept.
    """

    name: str = "parameter-span"
    source: str = "threat model: Loo et al., ICLR 2024, arXiv 2302.01428; the factorisation is this project's"
    search: BinarySearch = field(default_factory=BinarySearch)
    spread: float = 0.1
    polish: int = 5

    def run(self, observation: WeightsObservation, generator: torch.Generator) -> Iterator[Reconstruction]:
        """Yield a guess after every round of the search, the last when every gate column is found."""
        reason = _unfit(observation)
        if reason:
            yield Reconstruction(tokens=(), loss=float("inf"), note=reason, done=True)
            return
        factored, kept, basis = self._factored(observation, generator)
        count = basis.shape[1]
        if count in (0, min(factored.shape)):
            note = f"the weight change has full rank {count}: as many images as neurons or inputs, or too much noise"
            note = note if count else "nothing of the weight change stands above its noise"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)
            return
        span = torch.linalg.qr(torch.cat([basis, torch.ones(len(basis), 1, dtype=torch.float64)], 1))[0].float()
        found = torch.zeros(len(basis), 0)
        for turn in range(self.search.rounds):
            found = self.search.round(span, found, generator)[:, :count]
            gates = _gates(found.double(), basis)
            last = last_column(observation, factored, kept, gates, basis) if found.shape[1] == count - 1 else None
            gates = gates if last is None else torch.cat([gates, last[:, None]], 1)
            whole = gates.shape[1] == count
            if gates.shape[1]:
                note = f"{gates.shape[1]} of {count} gate columns (rank of the change) found in {turn + 1} rounds"
                yield self._solve(observation, factored, kept, gates, whole, note, generator)
            if whole:
                return
        if not found.shape[1]:
            note = f"no gate column found in a space of {count} dimensions over {len(basis)} neurons"
            yield Reconstruction(tokens=(), loss=float("inf"), note=note, done=True)

    def _factored(self, observation: WeightsObservation, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return `[dW, db] / a` (K', d + 1), which neurons it keeps, and the basis of its column space."""
        assert observation.start is not None
        model, layer = observation.model, observation.model.layers - 2
        a = observation.start[f"layer.{layer + 1}.weight"].double()[0] * model.scale(layer + 1)
        kept = (a.abs() >= self.spread * a.abs().median()).nonzero()[:, 0]
        parts = [(f"layer.{layer}.weight", model.scale(layer))] + ([(f"layer.{layer}.bias", 1.0)] if model.bias else [])
        change, noise = [], []
        for name, scale in parts:
            start, final = observation.start[name], observation.final[name]
            know = observation.knowledge
            divisor = (a * scale)[kept].reshape(-1, *[1] * (start.dim() - 1))
            change.append((observation.tensors[name][kept] / divisor).reshape(len(kept), -1))
            deviation = rounding_deviation(start, final, know.dtype, know.noise)[kept]
            noise.append((deviation / divisor.abs()).reshape(len(kept), -1))
        factored = torch.cat(change, 1)
        return factored, kept, column_space(factored, torch.cat(noise, 1), generator)

    def _solve(
        self,
        observation: WeightsObservation,
        factored: Tensor,
        kept: Tensor,
        gates: Tensor,
        whole: bool,
        note: str,
        generator: torch.Generator,
    ) -> Reconstruction:
        spaces = row_spaces(observation, generator)
        best = read(observation, factored, kept, gates, whole, spaces)
        guess = best
        for _ in range(self.polish if whole else 0):
            # A gate that rounding turned is set right by the image that the other neurons gave.
            if bool((guess.opened == gates).all()):
                break
            gates = guess.opened
            guess = read(observation, factored, kept, gates, whole, spaces)
            # Below 1e-12 the residual is rounding, and the later gates are the better ones.
            best = guess if guess.residual < max(best.residual, 1e-12) else best
        order = best.duals.abs().argsort(descending=True)
        model = observation.model
        images = model.images(best.inputs[order])
        if not model.bias:
            images = images / images.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
        same = int((best.opened == best.gates).all(0).sum())
        note = f"{note}; {same} of {len(order)} guesses open exactly the neurons that their columns say"
        return Reconstruction(
            tokens=(), images=images.clamp(0, 1), loss=best.residual, residual=best.residual, note=note, done=whole
        )


def _unfit(observation: WeightsObservation) -> str:
    if observation.start is None:
        return "needs the weights before training"
    if observation.model.activation is not Activation.RELU or observation.model.outputs != 1:
        return "gates are binary for ReLU and one output only"
    return ""


def _gates(signs: Tensor, basis: Tensor) -> Tensor:
    """Return, of `(1 + s) / 2` and `(1 - s) / 2`, the one in the column space, which holds no constant."""
    pair = torch.stack([(1 + signs) / 2, (1 - signs) / 2])
    outside = (pair - basis @ (basis.T @ pair)).square().sum(1)
    return torch.where(outside[0] <= outside[1], pair[0], pair[1])
