import importlib.util
from pathlib import Path

import pytest
import torch

from unmask.attacks.evidence import Evidence, captured, gather
from unmask.public import Place
from unmask.subspace import row_space

SPEC = importlib.util.spec_from_file_location("reference_spans", Path(__file__).parents[1] / "references" / "spans.py")
assert SPEC is not None and SPEC.loader is not None
SLOW = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(SLOW)

TEXT = "w3 w41 w5 w90 w26"


def place_of(model, name: str) -> Place:
    return next(place for place in model.places if place.name == name)


def evidence_of(observation, name: str, **settings: bool) -> Evidence:
    model = observation.model
    return gather(model, place_of(model, name), observation.tensors[name], **{"differences": False, **settings})


@pytest.mark.parametrize("blocks", [1, 3])
def test_captured_equals_orthonormal_bases(blocks: int) -> None:
    rows = torch.randn(blocks, 4, 5, 20, dtype=torch.float64) * torch.tensor([1e-3, 1, 10, 1, 1])[:, None]
    bases = torch.linalg.qr(torch.randn(blocks, 20, 7, dtype=torch.float64))[0]
    found = captured(rows @ rows.transpose(-1, -2), torch.einsum("hcnb,hbr->hcnr", rows, bases))
    for c in range(4):
        assert float(found[c]) == pytest.approx(SLOW.captured(rows[:, c].numpy(), bases.numpy()), rel=1e-6)


def test_repeated_rows_capture_no_more_than_one() -> None:
    rows = torch.randn(1, 1, 3, 12, dtype=torch.float64)
    rows[:, :, 2] = rows[:, :, 1]
    bases = torch.linalg.qr(torch.randn(1, 12, 4, dtype=torch.float64))[0]
    found = captured(rows @ rows.transpose(-1, -2), rows @ bases[:, None])
    assert float(found) == pytest.approx(SLOW.captured(rows[:, 0, :2].numpy(), bases.numpy()), rel=1e-4)


def test_share_is_zero_only_if_the_span_is_explained(observe, deep) -> None:
    name = "layer.1.value.weight"
    observation, ids = observe([TEXT], [1], [name], who=deep)
    evidence = evidence_of(observation, name)
    assert evidence.rank == pytest.approx(ids.shape[1]) and len(evidence.bases) == 1
    wrong, swapped = ids[0].clone(), ids[0].clone()
    wrong[2] = 50
    swapped[[2, 3]] = swapped[[3, 2]]
    shares = evidence.of_sequences(torch.stack([ids[0], wrong, swapped]))
    assert abs(float(shares[0])) < 1e-6 and float(shares[1:].min()) > 1e-3
    # Inputs that all lie in the span, but do not fill it, leave their share of it unexplained.
    inputs = deep.model.inputs(ids, [evidence.place])[name]
    assert float(evidence.of_inputs(inputs[:, 1:])) == pytest.approx(1 / ids.shape[1], abs=1e-5)
    # The metric matters for wrong sentences only.
    white = evidence.whitened(torch.randn(1, 48, 48))
    assert abs(float(white.of_sequences(ids))) < 1e-5 and white.rank == pytest.approx(evidence.rank)


def test_a_key_shows_differences(observe, precise) -> None:
    name = "layer.1.key.weight"
    observation, ids = observe([TEXT], [1], [name], who=precise)
    evidence = evidence_of(observation, name, differences=True)
    assert evidence.rank == pytest.approx(ids.shape[1] - 1)
    assert abs(float(evidence.of_sequences(ids))) < 1e-6
    # All inputs together explain their differences too, so the sum of the shares cannot tell; the rank does.
    assert abs(float(evidence_of(observation, name).of_sequences(ids))) < 1e-6


def test_attention_output_is_split_by_heads_while_they_are_wide_enough(observe, deep) -> None:
    name = "layer.1.attention.output.weight"
    observation, ids = observe([TEXT], [1], [name], who=deep)
    split = evidence_of(observation, name)
    assert split.place.name == "layer.1.value.weight" and split.bases.shape[:2] == (4, 12) and split.lift is not None
    assert split.rank == pytest.approx(4 * ids.shape[1])
    values, bias = deep.model.affine(split.place)
    inputs = deep.model.inputs(ids, [split.place])[split.place.name]
    direct = (inputs @ values.T + bias).view(1, -1, 4, 12).permute(2, 0, 1, 3)
    assert torch.allclose(split.blocks(inputs), direct, atol=1e-5)
    order = ids[:, [0, 2, 1, *range(3, ids.shape[1])]]
    for evidence in (split, whole(observation, name)):
        assert abs(float(evidence.of_sequences(ids))) < 1e-6 < 1e-3 < float(evidence.of_sequences(order))


def whole(observation, name: str) -> Evidence:
    """The same gradient without its heads: the input of the output map as one block."""
    basis = row_space(observation.tensors[name]).basis
    return Evidence(model=observation.model, place=place_of(observation.model, name), bases=basis[None])


def test_a_long_sentence_is_not_split(observe, deep) -> None:
    name = "layer.1.attention.output.weight"
    text = " ".join(f"w{i}" for i in range(20, 31))
    observation, ids = observe([text], [1], [name], who=deep)
    assert ids.shape[1] == 13
    evidence = evidence_of(observation, name)
    assert evidence.lift is None and evidence.place.name == name
    assert abs(float(evidence.of_sequences(ids))) < 1e-6
