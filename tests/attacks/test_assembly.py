import torch

from unmask.attacks.batches.assembly import BatchAssembly
from unmask.attacks.rehearsal import rehearse
from unmask.rng import generator
from unmask.subspace import row_space

TEXTS = ["w3 w41 w5 w90 w26", "w7 w8 w9 w50 w51", "w60 w3 w70 w20 w5"]
NAME = "layer.1.query.weight"


def test_the_limit_lies_between_true_and_false_sentences(observe, deep) -> None:
    observation, ids = observe(TEXTS, [0, 1, 2], [NAME], who=deep)
    (place,), model = observation.places, deep.model
    assembly = BatchAssembly(
        model=model,
        place=place,
        space=row_space(observation.tensors[NAME]),
        options=tuple(column.unique() for column in ids.T),
        differences=False,
        inside=rehearse(model, place, torch.arange(4, 100), generator(0)).inside,
        generator=generator(1),
    )
    limit = assembly.limit(ids.shape[1], 60)
    false = ids.repeat(5, 1)
    for column in range(1, 6):
        false[3 * column - 3 : 3 * column, column] = ids[[1, 2, 0], column]
    assert float(assembly.farthest(ids).max()) < limit < float(assembly.farthest(false).min())


def test_words_of_a_finished_sentence_are_used_up(observe, deep) -> None:
    observation, ids = observe(TEXTS, [0, 1, 2], [NAME], who=deep)
    assembly = BatchAssembly(
        model=deep.model,
        place=observation.places[0],
        space=row_space(observation.tensors[NAME]),
        options=tuple(column.unique() for column in ids.T),
        differences=False,
        inside=torch.zeros(0),
        generator=generator(1),
    )
    assembly.use(ids[0])
    for sentence, _ in assembly.descend(assembly.random_start(ids.shape[1], (3,))):
        assert not bool((sentence[1:-1] == ids[0, 1:-1]).any()) and sentence[-1] == 3
