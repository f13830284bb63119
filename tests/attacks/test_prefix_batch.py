import pytest
import torch

from tests import tiny as families
from unmask.attacks.prefixes.prefix_batch import padded
from unmask.attacks.replay import Replay
from unmask.attacks.span import SpanSearch
from unmask.observation import Knowledge, Observation
from unmask.rng import generator
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Victim
from unmask.victims.corpora import Example
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets

TEXTS = ("john lives at oak street", "soup was cold never", "call me after six please bring milk", "john takes pills")


def victim(family: str) -> Victim:
    who = families.loaded(family)
    examples = [Example(text=text, label=0, kind="test") for text in TEXTS]
    (secret,) = secrets(examples, who.model, who.encode, batch=len(TEXTS))
    return Victim(model=who.model, mechanism=TorchMechanism(model=who.model), secret=secret)


@pytest.mark.parametrize(("family", "select"), [("gpt2", "1.ffn.in"), ("gpt2", "1.value"), ("llama", "1.ffn.in")])
def test_every_sequence_of_a_batch_comes_back(family: str, select: str) -> None:
    who = victim(family)
    seen = GradientSurface(select=select).observe(who, generator(0))
    guesses = list(SpanSearch().run(seen, generator(0)))
    last = guesses[-1]
    assert set(last.tokens) == set(who.secret.sequences) and last.done
    assert last.residual is not None and last.residual < 1e-4
    assert all(guess.loss > last.loss for guess in guesses[:-1])


def test_the_replay_of_a_batch_weighs_sequences_as_the_victim_does() -> None:
    who = victim("gpt2")
    seen = GradientSurface(select="1.ffn.in").observe(who, generator(0))
    ids, mask = padded(who.secret.sequences, who.model.vocabulary.pad or 0)
    assert torch.equal(ids, who.secret.ids) and torch.equal(mask, who.secret.mask)
    assert Replay.of(seen, mask).residual(ids, ids) < 1e-5


def test_noise_gives_no_certificate() -> None:
    who = victim("gpt2")
    seen = GradientSurface(select="1.ffn.in").observe(who, generator(0))
    noise = {name: torch.randn(tensor.shape) for name, tensor in seen.tensors.items()}
    null = Observation(tensors=noise, model=seen.model, knowledge=Knowledge(batch=4))
    for _, guess in zip(range(40), SpanSearch().run(null, generator(0)), strict=False):
        assert guess.residual is None or guess.residual > 0.1
