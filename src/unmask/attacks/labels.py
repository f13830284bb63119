"""Infer the label from a gradient: from signs in the head, or exactly from any tensor once the text is known."""

from dataclasses import dataclass

import torch
from torch import Tensor

from unmask.attacks.replay import Replay
from unmask.observation import Observation
from unmask.public import Component, Kind


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Inferred share of each class in a batch.

    Args:
        shares: (K,) estimated shares, summing to 1.
        residual: relative residual of the fit, None for the sign rule.
    """

    shares: tuple[float, ...]
    residual: float | None

    @property
    def label(self) -> int:
        """The likeliest single class."""
        return max(range(len(self.shares)), key=self.shares.__getitem__)


def from_head_bias(observation: Observation) -> Labels | None:
    """Return the label from the sign of the output bias's gradient, or None where none is visible.

    `dL/db_k = p_k - q_k` is negative only for classes that occur (Zhao et al. 2020, iDLG).
    For one sequence the class is certain; for a batch the shares are the negative parts' shares.
    """
    classes = observation.model.classes
    for place in observation.places:
        head = place.component is Component.HEAD or place.layer is None
        if classes is not None and head and place.kind is Kind.BIAS and place.shape == (classes,):
            missing = (-observation.tensors[place.name].double()).clamp_min(0)
            if float(missing.sum()) > 0:
                return Labels(shares=tuple((missing / missing.sum()).tolist()), residual=None)
    return None


def from_head_weight(observation: Observation) -> Labels | None:
    """Return one sequence's label from the output weight's gradient, or None where that does not show it.

    `dL/dW_k = (p_k - q_k) h^T` is a multiple of one vector h for every class, with the sign of
    `p_k - q_k`: of three or more rows the true class's alone points against the others. Two rows
    always point against each other, so two classes cannot be told apart without the sign of h.
    """
    classes = observation.model.classes
    if classes is None or classes < 3 or observation.knowledge.batch != 1:
        return None
    for place in observation.places:
        head = place.component is Component.HEAD or place.layer is None
        if head and place.kind is Kind.WEIGHT and place.shape[0] == classes:
            rows = observation.tensors[place.name].double()
            agreement = (rows @ rows.T).sign().sum(1)
            odd = int(agreement.argmin())
            if int((agreement == agreement.min()).sum()) == 1:
                return Labels(shares=tuple(float(k == odd) for k in range(classes)), residual=None)
    return None


def from_replay(observation: Observation, ids: Tensor, mask: Tensor) -> Labels | None:
    """Return the labels that explain the gradient best once the tokens (B, n) are known.

    The cross-entropy's gradient `dL/dz = p - q` is linear in the target q, hence so is every
    gradient below it: `G(q) = sum_k q_k G(e_k)`. The replays `G(e_k)` of every class are fitted to
    G by least squares with `sum_k q_k = 1`, jointly over all visible tensors; this is exact for one
    sequence. For a batch all sequences get the same q, which is exact for their shares only if
    their gradients agree, so it is an estimate. None for next-token models.

    Args:
        observation: what was seen.
        ids: (B, n) known tokens.
        mask: (B, n), True where a token counts.
    """
    classes = observation.model.classes
    if classes is None:
        return None
    replay = Replay.of(observation, mask)
    if not replay.seen:
        return None
    targets = torch.arange(classes)[:, None].expand(-1, len(ids))
    found = replay.gradients(ids.expand(classes, *ids.shape), targets)
    columns = torch.cat([found[name].flatten(1).double() for name in replay.seen], 1)
    seen = torch.cat([value.flatten().double() for value in replay.seen.values()])
    # With q_0 = 1 - sum of the others the constraint is gone.
    slopes = (columns[1:] - columns[0]).T
    rest = torch.linalg.lstsq(slopes, (seen - columns[0])[:, None]).solution[:, 0]
    shares = torch.cat([1 - rest.sum()[None], rest])
    gap = seen - shares @ columns
    return Labels(shares=tuple(shares.tolist()), residual=float(gap.norm() / seen.norm().clamp_min(1e-300)))
