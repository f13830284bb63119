import torch

from unmask.attacks.evidence import Evidence, gather
from unmask.attacks.probes import Probes
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
    order = probes.explaining(white, rows, ALLOWED)
    assert torch.equal(order.sort().values, ALLOWED)
