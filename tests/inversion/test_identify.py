import pytest
import torch

from tests.inversion.problems import F64
from unmask.errors import BadInput
from unmask.inversion.identify import centred_scores, gram_scores, gram_tokens
from unmask.inversion.vocabulary import read_tokens


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=generator(seed), dtype=F64)


def test_probabilities_give_scores_up_to_a_constant_a_row():
    s = randn(2, 5, 5)
    assert torch.allclose(centred_scores(torch.softmax(s, -1)), s - s.mean(-1, keepdim=True))


def test_masked_scores_are_not_invented():
    s = randn(5, 5).masked_fill(torch.ones(5, 5, dtype=torch.bool).triu(1), -torch.inf)
    found = centred_scores(torch.softmax(s, -1))
    assert torch.equal(found.isnan(), torch.ones(5, 5, dtype=torch.bool).triu(1))
    assert float(found[3, 1] - found[3, 0]) == pytest.approx(float(s[3, 1] - s[3, 0]))


def test_symmetric_weights_give_the_gram_matrix_and_tokens_up_to_the_group():
    root = randn(4, 4, seed=1) / 4
    w = root @ root.mT + 0.05 * torch.eye(4, dtype=F64)
    x = randn(4, 9, seed=2)
    scores = x.mT @ w @ x
    p = torch.softmax(scores, -1)
    assert torch.allclose(gram_scores(p, 4), scores, atol=1e-8)
    found = gram_tokens(p, w)
    # found = R x with R^T W R = W: both have the same scores, and R is linear.
    assert torch.allclose(found.mT @ w @ found, scores, atol=1e-8)
    r = found @ torch.linalg.pinv(x)
    assert torch.allclose(r @ x, found, atol=1e-7)
    assert torch.allclose(r.mT @ w @ r, w, atol=1e-7)
    assert (found - x).norm() > 0.1 * x.norm()


def maps_of(vocabulary, heads, width, positions, seed=0):
    token = randn(vocabulary, 16, seed=seed)
    place = randn(positions, 16, seed=seed + 1)
    query, key = randn(2, heads, 16, width, seed=seed + 2) / 6

    def maps(position, ids):
        rows = token if ids is None else token[ids]
        rows = torch.nn.functional.layer_norm(rows + place[position], (16,))
        return rows @ query, rows @ key

    return maps


def attention(maps, ids, causal=False):
    pairs = [maps(i, ids[i : i + 1]) for i in range(len(ids))]
    q, k = (torch.cat(part, 1) for part in zip(*pairs, strict=True))
    scores = q @ k.mT
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[1:], dtype=torch.bool).triu(1), -torch.inf)
    return torch.softmax(scores, -1)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, F64])
def test_a_vocabulary_of_five_thousand_is_read_exactly(causal, dtype):
    maps = maps_of(5000, 6, 8, 12)
    ids = torch.randint(5000, (12,), generator=generator(3))
    p = attention(maps, ids, causal).to(dtype)
    found = read_tokens(p, maps, {0: int(ids[0])}, tolerance=1e-2)
    assert torch.equal(found.ids, ids)
    assert found.error < 1e-5
    assert float(found.margin[1:].min()) > 3


def test_tokens_of_another_sentence_satisfy_nothing():
    maps = maps_of(500, 6, 8, 6)
    ids = torch.randint(500, (6,), generator=generator(3))
    null = torch.softmax(randn(6, 6, 6, seed=9), -1)
    found = read_tokens(null, maps, {0: int(ids[0])})
    assert found.ids[1:].tolist() == [-1] * 5
    assert found.error != found.error


@pytest.mark.parametrize("anchors", [{}, {9: 0}])
def test_without_an_anchor_nothing_starts(anchors):
    with pytest.raises(BadInput) as error:
        read_tokens(torch.full((1, 3, 3), 1 / 3), maps_of(5, 1, 2, 3), anchors)
    assert error.value.argument == "anchors"


def test_scores_are_no_probabilities():
    for wrong in (torch.ones(3, 3), torch.ones(3), torch.full((2, 2), torch.nan)):
        with pytest.raises(BadInput):
            centred_scores(wrong)
    with pytest.raises(BadInput, match="tokens"):
        gram_scores(torch.full((3, 3), 1 / 3), 4)
    with pytest.raises(BadInput, match="symmetric"):
        gram_tokens(torch.full((5, 5), 0.2), randn(3, 3))
    with pytest.raises(BadInput, match="definite"):
        gram_tokens(torch.full((5, 5), 0.2), -torch.eye(3))
