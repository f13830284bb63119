import torch

from unmask.attacks.evidence import Evidence, gather
from unmask.attacks.probes import Probes, explained, whitening
from unmask.rng import generator

NAME = "layer.1.value.weight"
ALLOWED = torch.arange(4, 100)


def evidence_of(observe, deep, text: str) -> tuple[Evidence, torch.Tensor]:
    observation, ids = observe([text], [1], [NAME], who=deep)
    return gather(deep.model, observation.places[0], observation.tensors[NAME], differences=False), ids[0, 1:-1]


def test_what_is_remembered_depends_on_the_seed(observe, deep) -> None:
    evidence, _ = evidence_of(observe, deep, "w3 w41 w5")
    other, _ = evidence_of(observe, deep, "w7 w8 w9 w50")
    first = Probes.cached(evidence, ALLOWED, generator(0))
    assert Probes.cached(other, ALLOWED, generator(0)) is first
    second = Probes.cached(evidence, ALLOWED, generator(1))
    assert not torch.equal(second.rows, first.rows)
    assert torch.equal(Probes.cached(evidence, ALLOWED, generator(0)).rows, first.rows)


def test_true_tokens_come_before_most_others(observe, deep) -> None:
    evidence, tokens = evidence_of(observe, deep, "w3 w41 w5 w90 w26 w11")
    probes = Probes.measure(evidence, ALLOWED, generator(0))
    distances = probes.distances(evidence, ALLOWED)
    assert bool(distances[:4].isinf().all()) and bool(((distances[4:] > -1e-4) & (distances[4:] <= 1)).all())
    ranks = distances.argsort().argsort()[tokens]
    assert float(ranks.double().mean()) < 0.4 * len(ALLOWED)
    white = evidence.whitened(probes.white)
    rows = white.blocks(deep.model.inputs(torch.tensor([[2, *tokens.tolist()[:-1], 3]]), [evidence.place])[NAME][0])
    lacking = explained(white, rows, probes.rows[:, ALLOWED] @ probes.white)
    assert lacking.shape == (len(ALLOWED),) and bool((lacking > 0).all())


def test_explained_is_the_gain_of_a_further_row(observe, deep) -> None:
    evidence, _ = evidence_of(observe, deep, "w3 w41 w5 w90 w26 w11")
    rows = torch.randn(1, 9, 48, dtype=torch.float64, generator=generator(0))
    taken, further = rows[:, :4], rows[:, 4:]
    before = evidence.of_inputs(taken)
    after = torch.cat([evidence.of_inputs(torch.cat([taken, further[:, k : k + 1]], 1)) for k in range(5)])
    assert torch.allclose(explained(evidence, taken, further), (before - after) * evidence.rank, atol=1e-6)


def test_whitened_rows_have_unit_covariance() -> None:
    rows = torch.randn(1, 500, 6, generator=generator(0)).double() * torch.arange(1.0, 7.0)
    covariance = rows.transpose(1, 2) @ rows / 500
    white = whitening(covariance, 0.0)
    assert torch.allclose(white @ covariance @ white, torch.eye(6, dtype=torch.float64)[None], atol=1e-9)
