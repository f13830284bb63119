"""Levels that a network takes, and where bootstraps go: the shortest path over levels.

The circuit is the one that `unmask.he` compiles: a ciphertext per representation, values for all pairs of tokens in
blocks, the embedding folded into what reads it, the head into the last map. Between two stages each ciphertext that
is still needed may be refreshed; a path is a choice of these, its length their number.
"""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from unmask.errors import BadInput
from unmask.poly.moduli import drift
from unmask.poly.network import Network
from unmask.poly.noise import Noise
from unmask.poly.program import Program, programs


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The scheme's parameters, as far as levels and noise depend on them.

    Args:
        ring: log2 of the ring dimension N.
        scale: bits of the scale.
        levels: of a fresh ciphertext.
        refreshed: levels after a bootstrap; 0 if there is no bootstrapping.
        fixed: whether scaling is fixed, so that each rescale drifts.

    Raises:
        BadInput: if a number is out of range.
    """

    ring: int = 16
    scale: int = 45
    levels: int = 24
    refreshed: int = 0
    fixed: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.levels <= 60 or not 0 <= self.refreshed <= 60:
            raise BadInput(
                "levels", (self.levels, self.refreshed), "are out of range", "give 1 to 60, refreshed 0 to 60"
            )

    @property
    def noise(self) -> Noise:
        """What each operation adds."""
        return Noise.of(ring=self.ring, scale=self.scale)

    @property
    def drifts(self) -> tuple[float, ...]:
        """Relative error of a rescale from level 0 (never made), 1, 2 and so on."""
        count = max(self.levels, self.refreshed)
        return (0.0, *(drift(self.ring, self.scale, count) if self.fixed else (0.0,) * count))


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A part of the network between two places for bootstraps.

    Args:
        name: such as `0.attention.scores`.
        levels: that the main ciphertext loses.
        forks: ciphertexts that start here as copies of the main one: `skip`, `value`.
        value: levels that `value` loses when it starts.
        skip: levels that `skip` loses in this stage.
        joins: ciphertext that meets the main one at the stage's end, or before its first product if `early`.
        early: whether they meet before the stage's levels are taken.
        mains: ciphertexts that the main one stands for: queries, keys and values go together.
    """

    name: str
    levels: int
    forks: tuple[str, ...] = field(default=())
    value: int = 0
    skip: int = 0
    joins: str = ""
    early: bool = False
    mains: int = 1


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where bootstraps go.

    Args:
        bootstraps: (stage, ciphertext), refreshed before that stage.
        count: how many ciphertexts are refreshed.
        depth: levels from input to logits if there were enough for no bootstrap.
        left: levels of the logits.
    """

    bootstraps: tuple[tuple[str, str], ...]
    count: int
    depth: int
    left: int


def evaluated(network: Network) -> dict[str, Program]:
    """Return the program of least depth of each polynomial, by the name of its input."""
    return {name: programs(polynomial)[0] for name, polynomial in network.polynomials().items()}


def stages(network: Network) -> tuple[Stage, ...]:
    """Return the network's stages in order."""
    found: list[Stage] = []
    depths = {name: each.depth for name, each in evaluated(network).items()}
    for index in range(len(network.blocks)):
        room = f"{index}.attention"
        embeds = int(index == 0 and network.embedding is not None)
        found += [
            Stage(name=f"{room}.project", levels=1, forks=("skip",), skip=embeds),
            # Copies and shifts of query, key and value into the blocks, then the product of queries and keys.
            Stage(name=f"{room}.scores", levels=2, forks=("value",), value=1, mains=3),
            Stage(name=f"{room}.weights", levels=depths[f"{room}.scores"]),
            Stage(name=f"{room}.mixed", levels=1, joins="value", early=True),
            Stage(name=f"{room}.output", levels=1, joins="skip"),
        ]
        room = f"{index}.feed_forward"
        found += [
            Stage(name=f"{room}.rise", levels=1, forks=("skip",)),
            Stage(name=f"{room}.activated", levels=depths[f"{room}.rise"]),
            Stage(name=f"{room}.output", levels=1, joins="skip"),
        ]
    # The head is folded into the last of them, and has to be applied to what skips it.
    return (*found[:-1], Stage(name="logits", levels=1, skip=1, joins="skip"))


def place(network: Network, chain: Chain, *, costs: Mapping[str, int] | None = None) -> Placement:
    """Return the placement of fewest bootstraps.

    Args:
        network: the network.
        chain: levels, fresh and refreshed.
        costs: ciphertexts that one of `main`, `value` and `skip` takes, 1 by default.

    Raises:
        BadInput: if no placement exists; the least number of levels that would do is named.
    """
    parts = stages(network)
    found = shortest(parts, chain.levels, chain.refreshed, {"main": 1, "value": 1, "skip": 1} | dict(costs or {}))
    if found is not None:
        return found
    deepest, depth = max(stage.levels for stage in parts), sum(stage.levels for stage in parts)
    if chain.refreshed:
        rule = f"are below {deepest}, what one stage takes"
        raise BadInput("refreshed", chain.refreshed, rule, "take other parameters or polynomials of lower degree")
    remedy = "give as many, allow bootstraps, or take polynomials of lower degree"
    raise BadInput("levels", chain.levels, f"are below {depth}, the least for this network", remedy)


def shortest(parts: Sequence[Stage], levels: int, refreshed: int, costs: Mapping[str, int]) -> Placement | None:
    """Return the placement of fewest bootstraps, or None if there is none.

    Args:
        parts: stages in order.
        levels: at the start.
        refreshed: after a bootstrap, 0 for none.
        costs: of refreshing `main`, `value` and `skip`.
    """
    queue: list[tuple[int, int, State, tuple[tuple[str, str], ...]]] = [(0, 0, (0, levels, -1, -1), ())]
    seen: set[State] = set()
    tie = 0
    while queue:
        cost, _, state, path = heapq.heappop(queue)
        if state[0] == len(parts):
            depth = sum(stage.levels for stage in parts)
            return Placement(bootstraps=path, count=cost, depth=depth, left=state[1])
        if state in seen:
            continue
        seen.add(state)
        stage = parts[state[0]]
        for names, after in _moves(stage, state, refreshed):
            tie += 1
            total = cost + sum(costs[name] * (stage.mains if name == "main" else 1) for name in names)
            heapq.heappush(queue, (total, tie, after, path + tuple((stage.name, name) for name in names)))
    return None


State = tuple[int, int, int, int]
"""Stage, and the levels of main, value and skip; -1 where there is none."""


def _moves(stage: Stage, state: State, refreshed: int) -> Iterator[tuple[tuple[str, ...], State]]:
    index, main, value, skip = state
    alive = [name for name, level in (("main", main), ("value", value), ("skip", skip)) if level >= 0]
    choices = product((False, True), repeat=len(alive)) if refreshed else [(False,) * len(alive)]
    for choice in choices:
        chosen = tuple(name for name, taken in zip(alive, choice, strict=True) if taken)
        levels = {"main": main, "value": value, "skip": skip} | dict.fromkeys(chosen, refreshed)
        levels |= {name: levels["main"] - (stage.value if name == "value" else 0) for name in stage.forks}
        levels["skip"] -= stage.skip
        if stage.joins and stage.early:
            levels["main"] = min(levels["main"], levels[stage.joins])
        levels["main"] -= stage.levels
        if stage.joins:
            if not stage.early:
                levels["main"] = min(levels["main"], levels[stage.joins])
            levels[stage.joins] = -1
        wanted = ["main", *stage.forks, *(["skip"] if stage.skip else [])]
        # A skip that is joined is gone, and has been counted in the main one.
        if all(levels[name] >= 0 for name in wanted if name != stage.joins):
            yield chosen, (index + 1, levels["main"], levels["value"], levels["skip"])
