import importlib.util
from pathlib import Path

import pytest
import torch

from unmask.attacks.matching.distances import Distance, distance

SPEC = importlib.util.spec_from_file_location(
    "reference_distances", Path(__file__).parents[1] / "references" / "distances.py"
)
assert SPEC is not None and SPEC.loader is not None
SLOW = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SLOW)


def flat(tensors: dict[str, torch.Tensor]) -> list[list[float]]:
    return [value.flatten().tolist() for value in tensors.values()]


@pytest.mark.parametrize(("kind", "l1"), [(Distance.L2, 0.0), (Distance.L2_L1, 0.01), (Distance.COSINE, 0.0)])
def test_distances_equal_loops(kind: Distance, l1: float) -> None:
    shapes = {"a": (3, 4), "b": (5,)}
    seen = {name: torch.randn(shape, dtype=torch.float64) for name, shape in shapes.items()}
    guess = {name: torch.randn(6, *shape, dtype=torch.float64) for name, shape in shapes.items()}
    found = distance(kind, seen, guess, l1=l1)
    for c in range(6):
        one = flat({name: value[c] for name, value in guess.items()})
        slow = SLOW.cosine(flat(seen), one) if kind is Distance.COSINE else SLOW.l2(flat(seen), one, l1)
        assert float(found[c]) == pytest.approx(slow, rel=1e-12)


def test_a_vanishing_gradient_is_orthogonal() -> None:
    assert float(distance(Distance.COSINE, {"a": torch.ones(3)}, {"a": torch.zeros(1, 3)})[0]) == 1
