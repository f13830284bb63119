import json
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint

import pytest

from unmask import registry, settings
from unmask.errors import BadInput
from unmask.registry import Group, find, make, names
from unmask.surface import Release
from unmask.surfaces.gradient import GradientSurface


@pytest.mark.parametrize("group", list(Group))
def test_everything_registered_can_be_found(group: Group) -> None:
    assert names(group)
    for name in names(group):
        assert callable(find(group, name))


@pytest.mark.parametrize(("group", "name"), [(group, name) for group in Group for name in names(group)])
def test_settings_survive_json(group: Group, name: str) -> None:
    data = {"path": "seen.safetensors"} if name == "gradient-file" else {}
    instance = make(group, name, data)
    assert instance.name == name
    stored = json.loads(json.dumps(settings.to_json(instance)))
    assert make(group, name, {key: value for key, value in stored.items() if key not in ("prior",)}) == instance


def test_an_unknown_name_brings_the_nearest() -> None:
    with pytest.raises(BadInput, match="--attack 'spam' is no attack; choose span"):
        find(Group.ATTACK, "spam")
    with pytest.raises(BadInput, match=r"--baseline 'lampp' .*lamp"):
        find(Group.ATTACK, "lampp", argument="--baseline")


def test_what_cannot_be_imported_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry.BUILT_IN, Group.DEFENCE, {"ghost": "unmask.defences.ghost:Ghost"})
    with pytest.raises(BadInput, match="cannot be imported"):
        find(Group.DEFENCE, "ghost")


def test_other_packages_add_names_and_take_none_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def other(group: str) -> list[EntryPoint]:
        return [EntryPoint(name, "tests.stubs:Silent", group) for name in ("silent", "lamp")]

    monkeypatch.setattr(registry, "entry_points", other)
    assert find(Group.ATTACK, "silent").__name__ == "Silent"
    assert find(Group.ATTACK, "lamp").__name__ == "Lamp"


@dataclass(frozen=True, kw_only=True)
class Nested:
    rate: float = 0.5
    count: int = 1
    pair: tuple[int, ...] = field(default=())
    limit: float | None = None
    release: Release = field(default=Release())


def test_nested_settings_and_whole_numbers_for_real_ones() -> None:
    made = settings.from_json(Nested, {"rate": 1, "pair": [1, 2], "limit": 3, "release": {"noise": 1}})
    assert made == Nested(rate=1.0, pair=(1, 2), limit=3.0, release=Release(noise=1.0))
    assert settings.from_json(Nested, settings.to_json(made)) == made


@pytest.mark.parametrize(
    "data", [{"ratio": 1}, {"rate": "fast"}, {"count": 1.5}, {"count": True}, {"release": {"nois": 1}}, {"limit": "x"}]
)
def test_settings_that_do_not_fit(data: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        settings.from_json(Nested, data)


def test_settings_are_checked_where_they_are_made() -> None:
    with pytest.raises(BadInput, match="--noise"):
        make(Group.DEFENCE, "perturb", {"noise": -1.0})
    with pytest.raises(BadInput, match="is no dataclass instance"):
        settings.to_json(GradientSurface)
