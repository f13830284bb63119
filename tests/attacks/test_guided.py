from itertools import islice

import torch
from torch.nn import functional as F

from unmask.attacks.sentences.guided_search import GuidedSearch
from unmask.attacks.sentences.response import Response, directions
from unmask.attacks.sentences.vector_search import LENGTHS, VectorGoal, read_vector
from unmask.rng import generator

TEXT = "w3 w41 w5 w90 w26 w11"
NAME = "layer.2.ffn.in.weight"
ALLOWED = torch.arange(4, 100)


def test_the_right_vector_is_the_first_positions_direction(observe, deep) -> None:
    observation, ids = observe([TEXT], [1], [NAME], who=deep)
    (place,) = observation.places
    _, _, rows = torch.linalg.svd(observation.tensors[NAME])
    response = Response.measure(deep.model, place, ids.shape[1], ALLOWED, generator(0))
    wrong = ids.clone()
    wrong[0, 3] = 60
    inputs = deep.model.inputs(torch.cat([ids, wrong]), [place])[NAME]
    for sign in (1, -1):
        goal = VectorGoal.of(sign * 3 * rows[0], response)
        assert torch.allclose(goal.vector, F.normalize(inputs[0, 0], dim=0), atol=1e-5)
        right, away = goal.distance(inputs).tolist()
        assert right < goal.solved < 1e-3 < away


def test_the_response_ranks_the_words_of_a_sentence_high(observe, deep) -> None:
    observation, ids = observe([TEXT], [1], [NAME], who=deep)
    (place,) = observation.places
    response = Response.measure(deep.model, place, ids.shape[1], ALLOWED, generator(0))
    found = response.likely(directions(deep.model, place, ids)[0], ALLOWED, 6)
    assert len(found) == 6 and bool(torch.isin(found, ALLOWED).all())
    assert len(set(found.tolist()) & set(ids[0, 1:-1].tolist())) >= 2
    sentences = torch.randint(4, 100, (300, ids.shape[1]), generator=generator(1))
    sentences[:, 0], sentences[:, -1] = 2, 3
    spread = (directions(deep.model, place, sentences) - response.mean) @ response.white
    assert 0.2 < float(spread.square().mean()) < 2


def test_unknown_lengths_are_tried_in_turn(observe, deep) -> None:
    text = " ".join(TEXT.split()[: LENGTHS[0] - 2])
    observation, ids = observe([text], [1], [NAME], who=deep, lengths=None)
    guesses = []
    for guess in read_vector(observation, observation.places[0], generator(0), seed=0):
        guesses.append(guess)
        if guess.loss < 1e-8 or len(guesses) > 60:
            break
    assert {len(guess.tokens[0]) for guess in guesses} <= set(LENGTHS)
    assert guesses[-1].tokens == (tuple(ids[0].tolist()),)


def test_the_slope_leads_to_the_sentence(observe, deep) -> None:
    observation, ids = observe([TEXT], [1], [NAME], who=deep)
    (place,) = observation.places
    _, _, rows = torch.linalg.svd(observation.tensors[NAME])
    response = Response.measure(deep.model, place, ids.shape[1], ALLOWED, generator(0))
    start, free = ids[0].clone(), torch.arange(1, ids.shape[1] - 1)
    start[[2, 5]] = torch.tensor([70, 71])
    search = GuidedSearch(
        model=deep.model,
        place=place,
        goal=VectorGoal.of(rows[0], response),
        start=start,
        free=free,
        allowed=ALLOWED,
        generator=generator(0),
    )
    found = list(islice(search.run(), 30))
    losses = [loss for _, loss in found]
    assert torch.equal(found[-1][0], ids[0]) and losses == sorted(losses, reverse=True)
