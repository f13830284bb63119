import pytest

from unmask.errors import BadInput
from unmask.site import Signal, Site
from unmask.surfaces.site_selector import describe_sites, select_sites, site_grid

ORDER = (Signal.HEADS, Signal.BLOCK, Signal.PROBABILITIES, Signal.HIDDEN, Signal.KEY, Signal.VALUE)
SITES = tuple(Site(layer=layer, signal=signal) for layer in range(3) for signal in ORDER)
HEADS = 4


def names(selection: str) -> list[str]:
    return [site.name for site in select_sites(SITES, HEADS, selection)]


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ("1.hidden", ["1.hidden"]),
        ("-1.block", ["2.block"]),
        ("0-1.key", ["0.key", "1.key"]),
        ("*.value", ["0.value", "1.value", "2.value"]),
        ("value", ["0.value", "1.value", "2.value"]),
        ("0.heads.3", ["0.heads.3"]),
        ("2.probabilities.*", [f"2.probabilities.{head}" for head in range(4)]),
        ("2.value+2.key", ["2.key", "2.value"]),
        ("0.heads.1+0.heads", ["0.heads", "0.heads.1"]),
        ("1.*", [f"1.{signal}" for signal in ORDER]),
        ("0.*.2", [f"0.{signal}.2" for signal in ORDER if signal not in (Signal.BLOCK, Signal.HIDDEN)]),
    ],
)
def test_a_selection_names_sites_in_the_models_order(selection: str, found: list[str]) -> None:
    assert names(selection) == found


def test_all_is_every_whole_signal() -> None:
    assert select_sites(SITES, HEADS, "all") == SITES


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ("", "names nothing"),
        ("0.hiden", "matches nothing; the nearest are 0.hidden"),
        ("7.hidden", "matches nothing; the nearest are"),
        ("0.query", "matches nothing"),
        ("0.heads.4", "names head 4 where there are 4; choose 0 to 3"),
        ("0.block.1", "has no heads: they are mixed there"),
        ("block+0.blok", "'0.blok' matches nothing; the nearest are 0.block"),
    ],
)
def test_what_matches_nothing_brings_the_nearest(selection: str, words: str) -> None:
    with pytest.raises(BadInput, match=words):
        names(selection)
    with pytest.raises(BadInput, match="this model shows no activations"):
        select_sites((), HEADS, "0.hidden")


def test_the_map_has_each_head_and_each_other_signal() -> None:
    found = site_grid(SITES, HEADS)
    assert len(found) == 3 * (HEADS + 5)
    assert found[: HEADS + 5] == (
        *(f"0.heads.{head}" for head in range(HEADS)),
        "0.block",
        "0.hidden",
        "0.key",
        "0.value",
        "0.probabilities",
    )
    assert site_grid(select_sites(SITES, HEADS, "1-2.block"), HEADS) == ("1.block", "2.block")
    assert site_grid(SITES[:1], 1) == ("0.heads",)


def test_a_cell_is_called_by_what_it_shows() -> None:
    def described(selection: str) -> tuple[int | None, str]:
        return describe_sites(SITES, select_sites(SITES, HEADS, selection))

    assert described("1.heads.2") == (1, "heads.2")
    assert described("1.key+1.value") == (1, "key+value")
    assert described("0-1.hidden") == (None, "0.hidden+1.hidden")
    assert described("all") == (None, "all")
