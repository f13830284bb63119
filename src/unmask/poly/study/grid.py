"""The variants of a study: a base, its soft-max twin, and one factor changed at a time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from unmask.errors import BadInput
from unmask.poly.conversion.ranges import Penalty
from unmask.poly.conversion.stages import Plan
from unmask.poly.layers.attention import PLACEMENTS
from unmask.poly.layers.transformer import Form
from unmask.poly.study.outcome import BASE, TWIN


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One row of a study.

    Args:
        factor: what differs from the base.
        value: how.
        form: of the model.
        plan: of its conversion; the twin takes from it the number of epochs alone.
    """

    factor: str
    value: str = field(default="")
    form: Form
    plan: Plan


Change = Callable[[Form, Plan], tuple[Form, Plan]]


def _degree(number: int) -> Change:
    return lambda form, plan: (form, replace(plan, degrees={**plan.degrees, form.activation: number}))


def _form(**changed: object) -> Change:
    def change(form: Form, plan: Plan) -> tuple[Form, Plan]:
        return replace(form, **changed), plan  # type: ignore[arg-type]

    return change


def _features(kind: str) -> Change:
    # The variance under the inverse square root needs its own degree, and its own penalty is on with the other.
    def change(form: Form, plan: Plan) -> tuple[Form, Plan]:
        return replace(form, norm=kind), replace(plan, degrees={**plan.degrees, "inverse-sqrt": 15})

    return change


def _unpunished(form: Form, plan: Plan) -> tuple[Form, Plan]:
    # As many epochs as with the penalty, so that nothing else differs.
    return form, replace(plan, penalty=Penalty(weight=0.0, variance_weight=0.0))


FACTORS: Mapping[str, Mapping[str, Change]] = {
    "length": {name: _form(placement=name) for name in PLACEMENTS if name != "after-root"},
    "penalty": {"off": _unpunished},
    "norms": {"batch, none inside": _form(extra_norms=False), "layer": _features("layer"), "rms": _features("rms")},
    "degree": {str(number): _degree(number) for number in (3, 4, 7)},
    "depth": {str(number): _form(layers=number) for number in (1, 3, 4)},
}
"""What each factor can be in place of the base's: after-root, on, batch norms everywhere, degree 2, two layers."""


def grid(form: Form, plan: Plan, factors: tuple[str, ...] = tuple(FACTORS)) -> tuple[Variant, ...]:
    """Return the base, its twin, and each change of each factor.

    Args:
        form: of the base.
        plan: of its conversion.
        factors: names in `FACTORS`.

    Raises:
        BadInput: if a factor is unknown.
    """
    unknown = [name for name in factors if name not in FACTORS]
    if unknown:
        raise BadInput("factors", unknown[0], "is unknown", f"name some of: {', '.join(FACTORS)}")
    twin = replace(form, attention="softmax", norm="layer")
    found = [Variant(factor=TWIN, form=twin, plan=plan), Variant(factor=BASE, form=form, plan=plan)]
    for factor in factors:
        for value, change in FACTORS[factor].items():
            changed, own = change(form, plan)
            found.append(Variant(factor=factor, value=value, form=changed, plan=own))
    return tuple(found)
