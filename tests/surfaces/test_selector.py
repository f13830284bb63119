import pytest

from tests.tiny import FAMILIES, loaded
from unmask.errors import BadInput
from unmask.public import Kind
from unmask.surfaces.selector import describe, grid, select

BERT = loaded("bert").model.places
GPT2 = loaded("gpt2").model.places
LLAMA = loaded("llama").model.places


def _names(selection: str, places=BERT) -> list[str]:
    return [place.name for place in select(places, selection)]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ("0.query", ["layer.0.query.weight"]),
        ("0.query.weight", ["layer.0.query.weight"]),
        ("layer.1.ffn.in.bias", ["layer.1.ffn.in.bias"]),
        ("0.query.bias", ["layer.0.query.bias"]),
        ("-1.attention.output", ["layer.1.attention.output.weight"]),
        ("0.query+1.key", ["layer.0.query.weight", "layer.1.key.weight"]),
        ("1.key + 0.query", ["layer.0.query.weight", "layer.1.key.weight"]),
        ("*.value", ["layer.0.value.weight", "layer.1.value.weight"]),
        ("0-1.value", ["layer.0.value.weight", "layer.1.value.weight"]),
        ("value", ["layer.0.value.weight", "layer.1.value.weight"]),
        ("layer=0,1 component=query", ["layer.0.query.weight", "layer.1.query.weight"]),
        ("layer=1 component=query,key", ["layer.1.query.weight", "layer.1.key.weight"]),
        ("head", ["bert.pooler.dense.weight", "classifier.weight"]),
        ("re:layer.0.*query.weight", ["layer.0.query.weight"]),
        ("1.key+re:0.*(query|value).weight", ["layer.0.query.weight", "layer.0.value.weight", "layer.1.key.weight"]),
    ],
)
def test_selections(selection: str, expected: list[str]) -> None:
    assert _names(selection) == expected


def test_a_layer_alone_means_everything_in_it() -> None:
    assert _names("0.*") == _names("layer=0") == [place.name for place in BERT if place.layer == 0]
    assert select(BERT, "all") == BERT


def test_kinds_have_words_of_their_own() -> None:
    assert {place.kind for place in select(BERT, "bias")} == {Kind.BIAS}
    assert {place.kind for place in select(BERT, "0.norm")} == {Kind.NORM}
    assert {place.kind for place in select(BERT, "embedding")} == {Kind.EMBEDDING}


def test_a_fused_parameter_gives_all_its_parts() -> None:
    found = _names("re:h.0.attn.c_attn.weight", GPT2)
    assert found == ["layer.0.query.weight", "layer.0.key.weight", "layer.0.value.weight"]


def test_a_gated_network_has_a_gate() -> None:
    assert _names("1.ffn.gate", LLAMA) == ["layer.1.ffn.gate.weight"]


@pytest.mark.parametrize(
    ("selection", "near"),
    [
        ("0.qery", "0.query"),
        ("7.query", ".query"),
        ("0.ffn.gate", "0.ffn."),
        ("embeding", "embedding"),
        ("layer=0 component=qery", "0.query"),
        ("re:laier.0", "layer.0"),
        ("0.query+0.qwery", "0.query"),
        ("0.query+", "0.query"),
    ][:-1],
)
def test_a_selection_that_matches_nothing_names_the_nearest(selection: str, near: str) -> None:
    with pytest.raises(BadInput, match="matches nothing; the nearest are") as caught:
        select(BERT, selection)
    assert near in caught.value.remedy
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("selection", ["", " + ", "re:(", "layers=0"])
def test_a_selection_that_is_none(selection: str) -> None:
    with pytest.raises(BadInput, match="--select"):
        select(BERT, selection)


@pytest.mark.parametrize("family", FAMILIES)
def test_grid_has_each_linear_map_of_each_layer_once(family: str) -> None:
    places = loaded(family).model.places
    found = grid(places)
    assert len(found) == len(set(found)) == 2 * (7 if family == "llama" else 6)
    for selection in found:
        (place,) = select(places, selection)
        assert place.kind is Kind.WEIGHT
        assert describe(places, (place,), selection) == (place.layer, str(place.component))


def test_descriptions_of_different_choices_differ() -> None:
    choices = ["0.query", "1.query", "0.query+1.query", "0.query+0.key", "0.*", "0.query+0.query.bias", "*.norm", "all"]
    choices += ["0.bias", "re:0.attention.*LayerNorm", "0.norm", "embedding", "head", "re:layer", "*.bias", "*.*"]
    found = [describe(BERT, select(BERT, choice), choice) for choice in choices]
    assert found[:5] == [(0, "query"), (1, "query"), (None, "0.query+1.query"), (0, "query+key"), (0, "all")]
    chosen = [tuple(place.name for place in select(BERT, choice)) for choice in choices]
    assert len(set(found)) == len(set(chosen))
