"""Which level each step runs at, and where ciphertexts are refreshed.

Counted from the end: a value is needed at the level that the steps after it use up. Everything runs as low as it
can, where it is cheapest, so that only the longest path sees the full height. Going back through the steps, the
state is the level at which each live value is needed; refreshing one resets its level to 0 for the steps before.
The cheapest way through these states is the shortest path over levels.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from unmask.errors import BadInput
from unmask.he.program import Program, Step

Needs = tuple[tuple[str, int], ...]
"""Live values and the levels they are needed at, sorted by name."""
Cost = Callable[[Step, int], float]
"""Seconds of a step on inputs of a level."""


@dataclass(frozen=True, kw_only=True)
class _Way:
    """The cheapest way from a state to the end: its cost, and the refreshed values with their levels."""

    cost: float
    refreshed: tuple[tuple[str, int], ...]


def levelled(program: Program, *, spare: int = 0) -> Program:
    """Return the program with the lowest levels and no bootstrap.

    Args:
        program: steps without levels.
        spare: level of the outputs.
    """
    return _assigned(program, {}, spare)


def refreshed(program: Program, *, top: int, after: int, fit: frozenset[str], cost: Cost) -> Program:
    """Return the program with levels and the cheapest bootstraps.

    Args:
        program: steps without levels.
        top: level of a fresh ciphertext.
        after: level of a refreshed one.
        fit: values that may be refreshed: those that lie in [-1, 1] in every slot.
        cost: seconds of a step; of kind `bootstrap` too.

    Raises:
        BadInput: if no placement keeps every level below what there is.
    """
    ways: dict[Needs, _Way] = {tuple((name, 0) for name in sorted(program.outputs)): _Way(cost=0.0, refreshed=())}
    for step in reversed(program.steps):
        following: dict[Needs, _Way] = {}
        for needs, way in ways.items():
            for state, longer in _before(step, dict(needs), way, after, fit, cost):
                known = following.get(state)
                if max(level for _, level in state) <= top and (known is None or longer.cost < known.cost):
                    following[state] = longer
        if not following:
            remedy = f"lower the degree of {step.layer}, or take parameters with more levels after a bootstrap"
            raise BadInput("network", step.layer, f"needs more levels than the {after} of a refreshed one", remedy)
        ways = following
    best = min(ways.values(), key=lambda way: way.cost)
    return _assigned(_inserted(program, {name for name, _ in best.refreshed}), {}, 0)


def _before(
    step: Step, needs: dict[str, int], way: _Way, after: int, fit: frozenset[str], cost: Cost
) -> Iterator[tuple[Needs, _Way]]:
    """Yield the states before a step and the ways from there: its result refreshed or not."""
    wanted = max((needs.pop(name) for name in step.outputs if name in needs), default=-1)
    if wanted < 0:
        yield tuple(sorted(needs.items())), way
        return
    choices = [(wanted, way)]
    if len(step.outputs) == 1 and step.outputs[0] in fit and 0 < wanted <= after:
        price = cost(replace(step, kind="bootstrap", polynomial=None), 0)
        choices.append((0, _Way(cost=way.cost + price, refreshed=(*way.refreshed, (step.outputs[0], wanted)))))
    for level, chosen in choices:
        inputs = level + step.depth
        merged = dict(needs)
        for name in step.inputs:
            merged[name] = max(merged.get(name, 0), inputs)
        spent = _Way(cost=chosen.cost + cost(step, inputs), refreshed=chosen.refreshed)
        yield tuple(sorted(merged.items())), spent


def _inserted(program: Program, chosen: set[str]) -> Program:
    """Return the program with a bootstrap after each chosen value, whose raw form gets another name."""
    steps: list[Step] = []
    for step in program.steps:
        if len(step.outputs) == 1 and step.outputs[0] in chosen:
            name = step.outputs[0]
            steps.append(replace(step, outputs=(f"{name}-",)))
            steps.append(Step(kind="bootstrap", layer=step.layer, inputs=(f"{name}-",), outputs=(name,)))
        else:
            steps.append(step)
    return replace(program, steps=tuple(steps))


def _assigned(program: Program, needs: Mapping[str, int], spare: int) -> Program:
    wanted, steps = dict(needs) | dict.fromkeys(program.outputs, spare), []
    for step in reversed(program.steps):
        level = max(wanted.get(name, spare) for name in step.outputs)
        level = 0 if step.kind == "bootstrap" else level + step.depth
        for name in step.inputs:
            wanted[name] = max(wanted.get(name, 0), level)
        steps.append(replace(step, level=level))
    return replace(program, steps=tuple(reversed(steps)))
