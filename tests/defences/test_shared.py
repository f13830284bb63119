"""Private texts that others may ask: a store behind a noisy read or a noisy state, and answers about a span."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.references.shared import answers, sums
from tests.repeater import subject
from tests.tiny import fresh, loaded, victim
from unmask.attacks.shared.record_match import RecordMatch
from unmask.attacks.shared.records import Records
from unmask.attacks.shared.span_guess import SpanGuess
from unmask.auditor.attempt import attempt
from unmask.defences.bounded_decoding import BoundedDecodings
from unmask.defences.private_store import LinearStates, NoisyReads
from unmask.errors import BadInput
from unmask.rng import generator
from unmask.surface import Release, Scenario
from unmask.surfaces.activation import ActivationSurface
from unmask.surfaces.answer import AnswerSurface
from unmask.surfaces.store import StoreSurface, stored
from unmask.victim import Victim
from unmask.victims.corpora import Example
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets

STORE = StoreSurface(select="0.heads.1", queries=24)
ANSWERS = AnswerSurface(prompt="note {} note", tokens=8)


def seen(defence=None, family: str = "bert", surface=STORE, seed: int = 0):
    scenario = Scenario(victim=victim(family, 1), surface=surface)
    return (scenario if defence is None else defence.protect(scenario)).observe(generator(seed))


def truth(family: str = "bert") -> tuple[int, ...]:
    secret = victim(family, 1).secret
    assert secret is not None
    return secret.sequences[0]


def recovered(observation) -> tuple[int, ...]:
    best = attempt(RecordMatch(), observation, generator(0), seconds=20.0).best
    assert best is not None
    return best.tokens[0]


def right(guess: tuple[int, ...], wanted: tuple[int, ...]) -> int:
    return sum(a == b for a, b in zip(guess, wanted, strict=True))


@pytest.mark.parametrize("family", ["bert", "gpt2", "roberta"])
def test_an_undefended_store_is_read_word_for_word(family: str) -> None:
    assert recovered(seen(family=family)) == truth(family)


def test_answers_are_those_of_attention_one_query_at_a_time() -> None:
    observation = seen()
    _, store = stored(STORE, victim("bert", 1))
    slow = answers(torch.from_numpy(store.keys), torch.from_numpy(store.values), observation.knowledge.queries)
    assert torch.allclose(observation.tensors["0.heads.1"].double(), slow, atol=1e-6)
    assert observation.knowledge.exact


@pytest.mark.parametrize("defence", [NoisyReads(epsilon=1e9), LinearStates(epsilon=1e9)])
def test_with_next_to_no_noise_the_adversary_who_knows_the_mechanism_reads_everything(defence) -> None:
    observation = seen(defence)
    assert not observation.knowledge.exact
    assert recovered(observation) == truth()


@pytest.mark.parametrize("defence", [NoisyReads(), LinearStates()])
def test_at_epsilon_one_it_reads_no_more_than_a_guess(defence) -> None:
    hits = []
    for seed in range(4):
        guess = recovered(seen(defence, seed=seed))
        free = slice(1, -1)  # what the tokenizer puts around every text is known
        hits.append(right(guess[free], truth()[free]))
    # Five words out of 33: 0.15 of them by chance.
    assert sum(hits) <= 3


@pytest.mark.parametrize("defence", [None, NoisyReads(epsilon=50.0), LinearStates(epsilon=50.0)])
def test_the_distance_of_every_token_at_once_is_the_replay_one_by_one(defence) -> None:
    observation = seen(defence)
    model, known = observation.model, observation.knowledge
    records = Records.of(model, observation.site, known)
    assert records is not None
    tensor = observation.tensors["0.heads.1"].double()
    ids = torch.tensor(truth())
    codes, factors = records.entries(ids, torch.arange(len(ids)))
    every = torch.arange(4, 20)
    there = records.entries(every, torch.tensor(2))
    rest = codes.T @ factors - torch.outer(codes[2], factors[2])
    fast = records.distances(tensor, rest, *there)
    for index, token in enumerate(every):
        changed = torch.cat([ids[:2], token[None], ids[3:]])
        own, factor = records.entries(changed, torch.arange(len(ids)))
        total = sums(own, factor)
        slow = total if known.codes is not None else total[:, :-1] / total[:, -1:]
        assert float(fast[index]) == pytest.approx(float((slow - tensor).square().sum()), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("defence", "entries"), [(NoisyReads(epsilon=3.0), 24), (LinearStates(epsilon=3.0), 64)])
def test_the_noise_has_the_deviation_that_is_stated(defence, entries: int) -> None:
    draws = [seen(defence, seed=seed) for seed in range(40)]
    rows = torch.stack([one.tensors["0.heads.1"] for one in draws]).double()
    assert rows.shape[1:] == (entries, 9)
    measured = float(rows.std(0, correction=1).square().mean().sqrt())
    assert measured == pytest.approx(draws[0].knowledge.deviation, rel=0.05)


def test_one_token_moves_the_sums_by_no_more_than_the_noise_is_made_for() -> None:
    for defence in (NoisyReads(epsilon=1e9), LinearStates(epsilon=1e9)):
        surface = defence.protect(Scenario(victim=None, surface=STORE)).surface
        mechanism = surface.mechanism(8)  # type: ignore[attr-defined]
        observation = seen(defence)
        records = Records.of(observation.model, observation.site, observation.knowledge)
        assert records is not None
        codes, factors = records.entries(torch.arange(4, 37), torch.tensor(2))
        rows = codes[:, :, None] * factors[:, None, :]
        furthest = float(torch.cdist(rows.flatten(1), rows.flatten(1)).max())
        assert furthest <= mechanism.noise.sensitivity


def test_guarantees_say_unit_neighbours_and_scope() -> None:
    scenario = Scenario(victim=None, surface=STORE)
    read, state = NoisyReads(epsilon=2.0).guarantee(scenario), LinearStates(epsilon=2.0).guarantee(scenario)
    assert "at most 24 queries in all; one head" in str(read) and "replace one record" in str(read)
    assert "one release, unlimited queries; one head" in str(state)
    assert read.unit == state.unit == "one record of the store, here one token"
    one = BoundedDecodings(epsilon=2.0).guarantee(Scenario(victim=None, surface=ANSWERS))
    assert "one marked span (replace the span by any other), at most 8 tokens of one answer" in str(one)
    assert "remove the span" in str(BoundedDecodings(replace_span=False).guarantee(None))


def test_more_queries_take_more_noise() -> None:
    few, many = (
        NoisyReads().protect(Scenario(victim=None, surface=replace(STORE, queries=n))).surface.mechanism(8).noise.sigma  # type: ignore[attr-defined]
        for n in (4, 16)
    )
    assert many == pytest.approx(2 * few, rel=1e-6)


def reader(text: str = "tom takes two pills") -> Victim:
    who = subject()
    (secret,) = secrets([Example(text=text, label=0, kind="test")], who.model, who.encode, batch=1)
    return Victim(model=who.model, mechanism=TorchMechanism(model=who.model), secret=secret)


def answered(defence=None, seed: int = 0, text: str = "tom takes two pills"):
    who = subject()
    surface = ANSWERS.encoded(lambda words: tuple(who.encode(words)), who.model.vocabulary.special)
    scenario = Scenario(victim=reader(text), surface=surface)
    return (scenario if defence is None else defence.protect(scenario)).observe(generator(seed))


def guessed(observation) -> str:
    best = attempt(SpanGuess(), observation, generator(0), seconds=20.0).best
    assert best is not None
    return observation.model.decode(best.tokens[0])


def test_an_answer_that_repeats_the_span_gives_it_away() -> None:
    found = [guessed(answered(seed=seed)) for seed in range(4)]
    assert found.count("tom takes two pills") >= 3


def test_a_span_that_stays_apart_in_the_prompt_is_what_the_answer_is_drawn_from() -> None:
    observation = answered()
    assert observation.knowledge.before == observation.knowledge.after
    assert observation.knowledge.length == 4
    assert observation.tensors["answer"].shape == (8,)


def test_bounded_answers_hide_the_span_and_loose_ones_do_not() -> None:
    wanted = "tom takes two pills"
    tight = [guessed(answered(BoundedDecodings(epsilon=0.5), seed=seed)) for seed in range(6)]
    loose = [guessed(answered(BoundedDecodings(epsilon=1e6), seed=seed)) for seed in range(4)]
    assert wanted not in tight
    assert loose.count(wanted) >= 3


def test_the_stated_chances_are_those_that_are_drawn_from() -> None:
    observation = answered(BoundedDecodings(epsilon=8.0))
    generous = np.random.default_rng(0).dirichlet(np.ones(20), size=(2, 3))
    private, public = (torch.from_numpy(rows) for rows in generous)
    mixed = observation.knowledge.chances(private, public)
    assert torch.allclose(mixed.sum(1), torch.ones(3, dtype=torch.float64))
    # On the line from one to the other, and nearer to the public end than the bound allows at weight one.
    weight = ((mixed - public) * (private - public)).sum(1) / (private - public).square().sum(1)
    assert bool(((weight >= 0) & (weight < 1)).all())
    assert torch.allclose(mixed, weight[:, None] * private + (1 - weight[:, None]) * public, atol=1e-9)


@pytest.mark.parametrize(
    ("defence", "said"),
    [
        (NoisyReads(), "--surface store"),
        (LinearStates(), "--surface store"),
        (BoundedDecodings(), "--surface answer"),
    ],
)
def test_each_protects_its_own_surface(defence, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        defence.protect(Scenario(victim=None, surface=ActivationSurface()))


@pytest.mark.parametrize("kind", [NoisyReads, LinearStates, BoundedDecodings])
def test_budgets_are_checked(kind) -> None:
    with pytest.raises(BadInput, match="epsilon"):
        kind(epsilon=0.0)
    with pytest.raises(BadInput, match="delta"):
        kind(delta=1.0)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: NoisyReads(score_bound=-1.0), "score_bound"),
        (lambda: NoisyReads(value_norm=math.nan), "value_norm"),
        (lambda: LinearStates(features=0), "features"),
        (lambda: StoreSurface(queries=0), "queries"),
        (lambda: AnswerSurface(prompt="no place"), r"write \{\} once"),
        (lambda: AnswerSurface(release=Release(noise=0.1)), "bounded-decoding"),
        (lambda: RecordMatch(sweeps=0), "sweeps"),
        (lambda: SpanGuess(expected=0), "expected"),
    ],
)
def test_settings_are_checked(make, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        make()


def test_what_has_no_records_of_its_own_is_refused() -> None:
    with pytest.raises(BadInput, match="one token moves every row"):
        seen(surface=replace(STORE, select="1.heads.0"))
    with pytest.raises(BadInput, match="is not the output of one head"):
        seen(surface=replace(STORE, select="0.heads"))


def test_a_classifier_writes_no_answer() -> None:
    with pytest.raises(BadInput, match="--task causal-lm"):
        seen(surface=replace(ANSWERS, before=(5,)))
    with pytest.raises(BadInput, match="give a prompt"):
        Scenario(victim=victim("gpt2", 1), surface=ANSWERS).observe(generator(0))
    with pytest.raises(BadInput, match="needs 46 tokens where the model takes 40"):
        surface = replace(ANSWERS, before=(5,), tokens=40)
        Scenario(victim=victim("gpt2", 1), surface=surface).observe(generator(0))


def test_a_store_without_places_gives_its_words_in_any_order() -> None:
    # Keys before any turn by position: a Llama's store is a bag.
    assert loaded("llama").model.vocabulary.prefix == (2,)
    found = recovered(seen(family="llama", surface=replace(STORE, select="0.heads.0")))
    assert sorted(found) == sorted(truth("llama"))


def test_nothing_is_changed_in_the_model() -> None:
    who = fresh("bert").model
    before = {name: tensor.clone() for name, tensor in who.module.state_dict().items()}
    own = victim("bert", 1)
    Scenario(victim=Victim(model=who, mechanism=own.mechanism, secret=own.secret), surface=STORE).observe(generator(0))
    assert all(torch.equal(before[name], tensor) for name, tensor in who.module.state_dict().items())
