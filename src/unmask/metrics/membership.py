"""How well members of a training set are told from others. Functions of arrays."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from unmask.errors import BadInput

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def auc(scores: Array, members: Mask) -> float:
    """Return the chance that a member scores above another one, ties as half: 0.5 is guessing, 1 tells all.

    Args:
        scores: any shape; higher stands for a member.
        members: who was in, of the same shape.

    Raises:
        BadInput: if there is no member or nobody else.

    Example:
        >>> auc(np.array([2.0, 1.0, 0.0]), np.array([True, False, False]))
        1.0
    """
    inside = int(members.sum())
    outside = members.size - inside
    if not inside or not outside:
        raise BadInput("members", inside, f"of {members.size} leave nothing to compare", "give both kinds")
    ranks = rankdata(scores.ravel())[members.ravel()].sum()
    return float((ranks - inside * (inside + 1) / 2) / (inside * outside))


def likelihood_ratio(scores: Array, members: Mask) -> Array:
    """Return for each training and image `log p(score | in) - log p(score | out)`, from the other trainings.

    Both are normal with the image's own mean over the other trainings that had it, or had it not, and
    one deviation for all images: the online attack with few shadow models. An image's own training does
    not count among its shadows, which costs its true kind one of them: guessing gives slightly less than 1/2.

    Args:
        scores: (R, N) score of every image after every training, such as the margin.
        members: (R, N) who was in which training.

    Returns:
        (R, N).

    Raises:
        BadInput: if an image was in, or out, of fewer than two trainings.

    Source: Carlini et al., "Membership Inference Attacks From First Principles", 2022, with a pooled deviation.
    """
    if min(int(members.sum(0).min()), int((~members).sum(0).min())) < 2:
        raise BadInput("members", members.shape, "leave an image without two trainings of each kind", "train more")
    result = np.zeros_like(scores)
    for kind, sign in ((members, 1.0), (~members, -1.0)):
        total, count = (scores * kind).sum(0), kind.sum(0)
        means = total / count
        spread = (((scores - means) ** 2 * kind).sum() / (count - 1).sum()) ** 0.5 + 1e-12
        # The training that is attacked does not count among its own shadows.
        others = (total - scores * kind) / (count - kind)
        result += sign * -0.5 * ((scores - others) / spread) ** 2 - sign * np.log(spread)
    return result
