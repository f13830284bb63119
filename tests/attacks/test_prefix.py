import pytest
import torch

from tests import tiny as families
from unmask.attacks.prefixes.last_token import last_token
from unmask.attacks.prefixes.prefix_search import PrefixSearch
from unmask.attacks.rehearsal import rehearse
from unmask.attacks.span import NO_FIRST, SpanSearch
from unmask.observation import Knowledge, Observation
from unmask.rng import generator
from unmask.subspace import row_space

TEXT = "john lives at oak street never again"
CASES = [
    ("gpt2", "layer.1.ffn.in.weight"),
    ("gpt2", "layer.1.value.weight"),
    ("llama", "layer.1.query.weight"),
    ("llama", "layer.1.ffn.in.weight"),
]


def seen(family: str, *names: str, **known: object) -> tuple[Observation, tuple[int, ...]]:
    who = families.loaded(family)
    ids = torch.tensor([who.encode(TEXT)])
    places = [place for place in who.model.places if place.name in names]
    assert len(places) == len(names)
    gradients = who.model.gradients(ids, ids, places)
    tensors = {name: value[0] for name, value in gradients.items()}
    return Observation(tensors=tensors, model=who.model, knowledge=Knowledge(**known)), tuple(ids[0].tolist())


@pytest.mark.parametrize(("family", "name"), CASES)
def test_a_later_layer_gives_every_token(family: str, name: str) -> None:
    observation, secret = seen(family, name)
    guesses = list(SpanSearch().run(observation, generator(0)))
    last = guesses[-1]
    assert last.tokens == (secret,) and last.done
    assert last.residual is not None and last.residual < 1e-4
    assert all(secret[: len(guess.tokens[0])] == guess.tokens[0] for guess in guesses[:-1])


@pytest.mark.parametrize(("family", "name"), CASES)
def test_the_search_ends_before_the_last_token(family: str, name: str) -> None:
    observation, secret = seen(family, name)
    (place,), model = observation.places, observation.model
    special = model.vocabulary.special
    allowed = torch.tensor([i for i in range(model.vocabulary.size) if i not in special])
    search = PrefixSearch(
        model=model,
        place=place,
        space=row_space(observation.tensors[name]),
        allowed=allowed,
        inside=rehearse(model, place, allowed, generator(0)).inside,
        generator=generator(1),
    )
    found = list(search.run(len(secret)))
    longest, worst = max(found, key=lambda pair: len(pair[0]))
    assert longest == secret[:-1] and worst < 1e-6
    assert 0 < search.tested <= (len(allowed) + 256) * len(found)


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_the_last_token_is_read_from_the_slope(family: str) -> None:
    observation, secret = seen(family, "layer.1.query.weight")
    found = last_token(observation, torch.tensor(secret[:-1]), list(observation.places), generator(2))
    assert found[0] == secret[-1] and found[1] < 1e-4


def test_a_query_without_a_known_first_token_says_so() -> None:
    # The first position attends to itself alone, so its query has no gradient.
    observation, _ = seen("gpt2", "layer.1.query.weight")
    (only,) = SpanSearch().run(observation, generator(0))
    assert only.done and only.tokens == () and only.note == NO_FIRST
    both, secret = seen("gpt2", "layer.1.query.weight", "layer.1.ffn.in.weight")
    assert list(SpanSearch().run(both, generator(0)))[-1].tokens == (secret,)


def test_noise_gives_no_certificate() -> None:
    observation, secret = seen("gpt2", "layer.1.value.weight")
    noise = {name: torch.randn(tensor.shape) for name, tensor in observation.tensors.items()}
    null = Observation(tensors=noise, model=observation.model, knowledge=Knowledge())
    last = None
    for _, last in zip(range(60), SpanSearch().run(null, generator(0)), strict=False):
        assert last.residual is None or last.residual > 0.1
    assert last is not None and last.tokens != (secret,)


def test_a_repeated_first_token_is_an_echo_where_positions_are_only_relative() -> None:
    for family, echoes in (("llama", True), ("gpt2", False)):
        observation, secret = seen(family, "layer.1.ffn.in.weight")
        (place,), model = observation.places, observation.model
        search = PrefixSearch(
            model=model,
            place=place,
            space=row_space(observation.tensors[place.name]),
            allowed=torch.arange(model.vocabulary.size),
            inside=torch.zeros(0),
            generator=generator(1),
        )
        first, second = secret[:2]
        echoed = search._echo_test((first,), search._inputs((first,), torch.arange(model.vocabulary.size)))
        assert echoed(search._inputs((first,), torch.tensor([first, second]))).tolist() == [echoes, False]
