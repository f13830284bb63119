import importlib.util
from pathlib import Path

import pytest
import torch

from unmask.attacks.vocabulary_test import projected_distances, vocabulary_distances
from unmask.public import InputTable
from unmask.subspace import Subspace

SPEC = importlib.util.spec_from_file_location("reference_spans", Path(__file__).parents[1] / "references" / "spans.py")
assert SPEC is not None and SPEC.loader is not None
SLOW = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SLOW)

TOKENS, POSITIONS, WIDTH, RANK = 40, 5, 16, 6


def table(*, centred: bool, placed: bool, dtype: torch.dtype = torch.float64) -> InputTable:
    return InputTable(
        token=torch.randn(TOKENS, WIDTH, dtype=dtype),
        position=torch.randn(POSITIONS + 3, WIDTH, dtype=dtype) if placed else None,
        weight=1 + 0.3 * torch.randn(WIDTH, dtype=dtype),
        bias=0.2 * torch.randn(WIDTH, dtype=dtype) if centred else torch.zeros(WIDTH, dtype=dtype),
        epsilon=1e-5,
        centred=centred,
    )


def through(vectors: torch.Tensor) -> Subspace:
    basis, _ = torch.linalg.qr(vectors.double().T)
    return Subspace(basis=basis, weights=torch.ones(basis.shape[1], dtype=torch.float64), rank=basis.shape[1])


@pytest.mark.parametrize("centred", [True, False], ids=["layer-norm", "rms-norm"])
@pytest.mark.parametrize("placed", [True, False], ids=["positions", "no-positions"])
@pytest.mark.parametrize("referred", [True, False], ids=["reference", "no-reference"])
def test_closed_form_equals_projection_and_loops(centred: bool, placed: bool, referred: bool) -> None:
    made = table(centred=centred, placed=placed)
    reference = made.rows(torch.tensor(0), torch.tensor(0)) if referred else None
    inside = made.rows(torch.arange(1, RANK + 1), torch.arange(RANK) % POSITIONS)
    space = through(inside if reference is None else inside - reference)
    found = vocabulary_distances(made, space, POSITIONS, reference=reference)
    assert found.shape == (TOKENS, POSITIONS)
    # Without positions the reference itself stands at every one, and zero has no direction.
    rows = slice(1, None) if referred else slice(None)
    projected = projected_distances(made, space, POSITIONS, reference=reference)
    assert torch.allclose(found[rows], projected[rows], atol=1e-9)
    zero = torch.zeros(WIDTH, dtype=torch.float64)
    for token in range(1, TOKENS):
        for position in range(POSITIONS):
            slow = SLOW.vocabulary_distance(
                made.token[token].numpy(),
                (zero if made.position is None else made.position[position]).numpy(),
                made.weight.numpy(),
                made.bias.numpy(),
                made.epsilon,
                centred,
                space.basis.numpy(),
                (zero if reference is None else reference).numpy(),
            )
            assert float(found[token, position]) == pytest.approx(slow, abs=1e-9)


@pytest.mark.parametrize("referred", [True, False])
def test_float32_keeps_true_tokens_apart_from_false_ones(referred: bool) -> None:
    made = table(centred=True, placed=True, dtype=torch.float32)
    tokens = torch.tensor([7, 1, 30, 12, 5])
    reference = made.rows(torch.tensor(0), torch.tensor(0)) if referred else None
    inside = made.rows(tokens, torch.arange(POSITIONS))
    found = vocabulary_distances(
        made, through(inside if reference is None else inside - reference), POSITIONS, reference=reference
    )
    true = torch.zeros_like(found, dtype=torch.bool)
    true[tokens, torch.arange(POSITIONS)] = True
    if referred:
        assert float(found[0, 0]) == 1  # the reference less itself has no direction
    assert float(found[true].max()) < 1e-11 and float(found[~true].min()) > 1e-3
