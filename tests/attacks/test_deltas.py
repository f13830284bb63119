"""A fine-tuned encoder beside its start gives words, positions and sentences away."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.attacks.conftest import encoder
from unmask.attacks.deltas.embedding_rows import EmbeddingRows
from unmask.attacks.deltas.rows import read_rows, tables
from unmask.errors import BadInput, NoSignal
from unmask.observation import Knowledge, Observation
from unmask.rng import generator
from unmask.surfaces.weight_delta import read_checkpoint, weight_delta
from unmask.victim import Victim
from unmask.victims.corpora import Example
from unmask.victims.mechanism import TorchMechanism
from unmask.victims.secrets import secrets

TEXTS = ("w1 w2 w3 w4 w90", "w5 w6 w90 w7", "w8 w9 w10 w11 w12")
RATE = 0.05


def fine_tuned(steps: int, lengths: bool = True) -> tuple[Observation, Victim, dict[str, torch.Tensor]]:
    """Return what is seen, who trained, and the weights after it."""
    loaded = encoder(2, 32, dtype=torch.float64)
    examples = [Example(text=text, label=at % 2, kind="given") for at, text in enumerate(TEXTS)]
    (secret,) = secrets(examples, loaded.model, loaded.encode, batch=3)
    who = Victim(model=loaded.model, mechanism=TorchMechanism(model=loaded.model), secret=secret)
    start = dict(who.mechanism.parameters())
    current = {name: tensor.clone() for name, tensor in start.items()}
    for _ in range(steps):
        leaves = {name: tensor.requires_grad_() for name, tensor in current.items()}
        loss = who.mechanism.loss(leaves, secret, dropout=False, generator=torch.Generator())
        found = torch.autograd.grad(loss, list(leaves.values()), allow_unused=True)
        current = {
            name: tensor.detach() if step is None else tensor.detach() - RATE * step
            for (name, tensor), step in zip(leaves.items(), found, strict=True)
        }
    assert secret.labels is not None
    knowledge = Knowledge(
        batch=3,
        labels=tuple(secret.labels.tolist()),
        lengths=secret.lengths if lengths else None,
        local_steps=steps,
        learning_rate=RATE,
    )
    return weight_delta(who.model, start, current, knowledge), who, current


@pytest.mark.parametrize("steps", [1, 5])
def test_words_and_their_positions_are_read_after_any_number_of_steps(steps: int) -> None:
    seen, who, _ = fine_tuned(steps)
    pair = tables(seen)
    assert pair is not None and who.secret is not None
    rows = read_rows(seen, *pair)
    true = [(word, at) for sequence in who.secret.sequences for at, word in enumerate(sequence)]
    assert set(rows.words.tolist()) == {word for word, _ in true}
    special = seen.model.vocabulary.special
    once = {word: at for word, at in true if [w for w, _ in true].count(word) == 1 and word not in special}
    found = {word: at for word, at in rows.placed.items() if word in once}
    assert found.items() <= once.items()
    # A word beside a repeated one may stay open.
    assert len(found) >= len(once) - 1


@pytest.mark.parametrize("steps", [1, 5])
def test_sentences_are_put_together(steps: int) -> None:
    seen, who, _ = fine_tuned(steps)
    assert who.secret is not None
    *_, guess = EmbeddingRows(restarts=2).run(seen, generator(0, "deltas"))
    assert guess.done
    assert set(guess.tokens) == set(who.secret.sequences)
    assert guess.loss < (1e-4 if steps == 1 else 0.5)


def test_the_rows_of_other_neurons_give_no_sentence() -> None:
    seen, who, _ = fine_tuned(1)
    pair = tables(seen)
    assert pair is not None and who.secret is not None
    mixed = {name: tensor.clone() for name, tensor in seen.tensors.items()}
    order = torch.randperm(32, generator=generator(0, "mixed"))
    for place in pair:
        mixed[place.name] = mixed[place.name][:, order]
    *_, guess = EmbeddingRows(restarts=1).run(
        Observation(tensors=mixed, model=seen.model, knowledge=seen.knowledge), generator(0, "deltas")
    )
    assert guess.loss > 0.3
    assert set(guess.tokens) != set(who.secret.sequences)


def test_without_lengths_or_tables_less_is_said() -> None:
    seen, _, _ = fine_tuned(1, lengths=False)
    (guess,) = EmbeddingRows().run(seen, generator(0, "deltas"))
    assert guess.done and not guess.tokens and len(guess.bag) == 13
    part = {name: tensor for name, tensor in seen.tensors.items() if "query" in name}
    (nothing,) = EmbeddingRows().run(
        Observation(tensors=part, model=seen.model, knowledge=seen.knowledge), generator(0, "deltas")
    )
    assert nothing.absent and "not both visible" in nothing.note


def test_a_change_is_the_sum_of_gradients_and_wrong_weights_are_refused() -> None:
    seen, who, after = fine_tuned(1)
    start = who.mechanism.parameters()
    place = next(p for p in seen.model.places if p.name == "layer.1.query.weight")
    want = (start[place.parameter] - after[place.parameter]) / RATE
    assert torch.allclose(seen.tensors[place.name].double(), want, rtol=1e-5)
    with pytest.raises(BadInput, match="equal those before"):
        weight_delta(who.model, start, start, seen.knowledge)
    with pytest.raises(BadInput, match="another model"):
        weight_delta(who.model, start, {"x": torch.ones(1)}, seen.knowledge)
    with pytest.raises(BadInput, match="where the model has"):
        weight_delta(who.model, start, after | {place.parameter: torch.ones(2, 2)}, seen.knowledge)
    broken = after | {place.parameter: torch.full_like(after[place.parameter], torch.nan)}
    with pytest.raises((BadInput, NoSignal), match="NaN"):
        weight_delta(who.model, start, broken, seen.knowledge)


def test_checkpoints_are_safetensors_or_refused(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
    assert torch.equal(read_checkpoint(tmp_path, argument="--after")["a"], torch.ones(2))
    with pytest.raises(BadInput, match="never opened"):
        read_checkpoint(tmp_path / "model.bin", argument="--after")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BadInput, match=r"never opened.*safetensors\.torch\.save_file"):
        read_checkpoint(tmp_path / "old", argument="--after")
    with pytest.raises(BadInput, match="holds no safetensors"):
        read_checkpoint(tmp_path / "none", argument="--after")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing")
    with pytest.raises(BadInput, match="cannot be read"):
        read_checkpoint(tmp_path / "broken.safetensors", argument="--after")
