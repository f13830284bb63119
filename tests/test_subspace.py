import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from unmask.subspace import (
    Subspace,
    chordal_distance,
    estimate_rank,
    null_threshold,
    row_space,
    span_distance,
    unexplained,
)


def twin(name: str) -> ModuleType:
    path = Path(__file__).parent / "references" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"reference_{name}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SLOW = twin("subspace")


def low_rank(rank: int, rows: int = 48, width: int = 32) -> tuple[torch.Tensor, torch.Tensor]:
    inputs = torch.randn(rank, width)
    return torch.randn(rows, rank) @ inputs, inputs


@pytest.mark.parametrize("rank", [1, 5, 12])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_rank_survives_rounding(rank: int, dtype: str) -> None:
    matrix, _ = low_rank(rank)
    assert estimate_rank(matrix.to(getattr(torch, dtype)).float(), dtype=dtype) == rank


def test_rank_survives_known_noise_and_pure_noise_has_none() -> None:
    matrix, _ = low_rank(5)
    assert estimate_rank(matrix + 0.05 * torch.randn_like(matrix), noise=0.05) == 5
    assert estimate_rank(0.05 * torch.randn(384, 384), noise=0.05) == 0
    assert estimate_rank(torch.zeros(8, 8)) == 0


def test_distances_equal_their_slow_twins() -> None:
    matrix, inputs = low_rank(6)
    space = row_space(matrix + 0.02 * torch.randn_like(matrix), noise=0.02, soft=True)
    vectors = torch.cat([torch.randn(5, 32), inputs]).double()
    expected = [SLOW.span_distance(v, space.basis.numpy(), space.weights.numpy()) for v in vectors.numpy()]
    assert torch.allclose(span_distance(vectors, space), torch.tensor(expected, dtype=torch.float64), atol=1e-12)
    rows = torch.randn(3, 7, 32, dtype=torch.float64)
    for found, one in zip(chordal_distance(rows, space), rows.numpy(), strict=True):
        assert float(found) == pytest.approx(SLOW.chordal_distance(one, space.basis.numpy()), abs=1e-10)
    for found, one in zip(unexplained(rows, space, ridge=0.0), rows.numpy(), strict=True):
        slow = SLOW.unexplained(one, space.basis.numpy(), space.weights.numpy())
        assert float(found) == pytest.approx(slow, abs=1e-9)


def test_span_distance_keeps_digits_in_float32() -> None:
    matrix, inputs = low_rank(6)
    space = row_space(matrix)
    assert float(span_distance(inputs, space).max()) < 1e-9
    assert float(chordal_distance(inputs[None], space)[0]) < 1e-9
    assert float(chordal_distance(inputs[None, :3], space)[0]) == pytest.approx(0.5, abs=1e-6)


def test_null_threshold_interpolates_and_extrapolates() -> None:
    null = torch.rand(20000, dtype=torch.float64).sqrt()  # P(x < t) = t^2
    assert null_threshold(null, tests=100, expected=1.0) == pytest.approx(0.1, rel=0.1)
    far = null_threshold(null, tests=1000000, expected=1.0)
    assert 0 <= far < 0.02


def test_an_empty_span_holds_nothing() -> None:
    empty = Subspace(basis=torch.zeros(4, 0, dtype=torch.float64), weights=torch.zeros(0, dtype=torch.float64), rank=0)
    assert torch.equal(span_distance(torch.ones(2, 4), empty), torch.ones(2, dtype=torch.float64))
