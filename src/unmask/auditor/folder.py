"""A run's folder: `run.json`, written whole, and `records.jsonl`, one line at a time."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path

import torch
from torch import Tensor

from unmask import record, settings, storage
from unmask.auditor.plan import Job, Plan
from unmask.errors import BadInput, StorageError
from unmask.record import Record

RECORDS = "records.jsonl"
HEAD = "run.json"
SCHEMA = 1
PACKAGES = ("unmask", "torch", "transformers", "tokenizers", "numpy")


def start(path: Path, plan: Plan, *, resume: bool) -> dict[str, Record]:
    """Prepare the folder of a run and return the records that it already has, by their key.

    An unfinished last line, left by a kill, is cut off.

    Args:
        path: the folder.
        plan: what is going to run.
        resume: whether the folder may hold an earlier part of this run.

    Raises:
        BadInput: if the folder is in use and `resume` is off, or holds another run.
        StorageError: if the folder cannot be written.
    """
    if path.exists() and not path.is_dir():
        raise BadInput("--out", str(path), "is a file", "name a folder")
    if path.is_dir() and any(path.iterdir()) and not resume:
        raise BadInput("--out", str(path), "is not empty", "add --resume to go on, or name another folder")
    head = _head(path / HEAD)
    identity = _identity(plan)
    if head:
        _same_run(head.get("identity"), identity, path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(str(path), error.strerror or str(error)) from error
    record.mend(path / RECORDS)
    found = {finished.key: finished for finished in record.read(path / RECORDS)}
    started = head.get("started") or datetime.now(UTC).isoformat(timespec="seconds")
    storage.replace(path / HEAD, json.dumps(_described(plan, identity, started), ensure_ascii=False, indent=1) + "\n")
    return found


def keyed(plan: Plan) -> dict[str, Job]:
    """Return the plan's runs under the digest of everything that determines them but the machine's speed.

    Args:
        plan: the audit.
    """
    weights = _weights(plan)
    checks = [_check(plan, secret) for secret in plan.items]
    found = {}
    for job in plan.jobs():
        spec = {
            "model": weights,
            "surface": {"name": job.cell.surface.name, **settings.to_json(job.cell.surface)},
            "attack": job.role.described(),
            "item": [job.item, checks[job.item]],
            "seed": plan.seed,
            "seconds": plan.run_seconds,
        }
        found[record.digest(spec)] = job
    return found


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that a result depends on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _head(path: Path) -> Mapping[str, object]:
    if not path.exists():
        return {}
    try:
        head = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("--out", str(path), f"cannot be read ({error})", "delete it, or name another folder") from error
    return head if isinstance(head, dict) else {}


def _same_run(theirs: object, ours: Mapping[str, object], path: Path) -> None:
    old = theirs if isinstance(theirs, dict) else {}
    for name, value in ours.items():
        before = old.get(name)
        if isinstance(value, list) and isinstance(before, list):
            # More or fewer texts than before are the same run as long as they begin alike.
            shared = min(len(value), len(before))
            before, value = before[:shared], value[:shared]
        if before != value:
            remedy = "give the same arguments, or name another folder"
            raise BadInput("--resume", str(path), f"holds a run with other {name}", remedy)


def _identity(plan: Plan) -> dict[str, object]:
    return {
        "model": plan.subject.name,
        "weights": _weights(plan),
        "seed": plan.seed,
        "surface": _shared_surface(plan),
        "items": [_check(plan, secret) for secret in plan.items],
    }


def _shared_surface(plan: Plan) -> dict[str, object]:
    surface = plan.cells[0].surface
    described = {"name": surface.name, **settings.to_json(surface)}
    if len(plan.cells) > 1:
        described.pop("select", None)
    shared: dict[str, object] = json.loads(json.dumps(described))
    return shared


def _described(plan: Plan, identity: Mapping[str, object], started: object) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "identity": dict(identity),
        "model": plan.subject.name,
        "surface": _shared_surface(plan),
        "seed": plan.seed,
        "versions": versions(),
        "command": list(plan.command),
        "started": started,
        "settings": {
            "budget": plan.budget,
            "seconds per run": plan.run_seconds,
            "items": len(plan.items),
            "attacks": [f"{role.attack.name} ({role.role}, {len(role.cells)} cells)" for role in plan.roles],
            "threads": torch.get_num_threads(),
            **({"defences": [str(each) for each in plan.guarantees]} if plan.guarantees else {}),
        },
        "guarantees": [{"name": each.name, **asdict(each.guarantee)} for each in plan.guarantees],
        "trained": dict(plan.trained),
        "fail_on": plan.fail_on,
        "parameters": plan.subject.parameters,
        "grid": [{**asdict(seen.cell), "absent": None} for seen in plan.cells],
    }


def _check(plan: Plan, secret: object) -> str:
    if secret is None:
        return ""
    # Three digits notice another secret and confirm no guess at this one: the folder may be passed on.
    return hashlib.sha256(plan.subject.content(secret).encode()).hexdigest()[:3]


def _weights(plan: Plan) -> str:
    sums = [[name, list(p.shape), _mixed(p)] for name, p in sorted(plan.subject.weights().items())]
    return record.digest({"parameters": sums})


def _mixed(tensor: Tensor) -> list[str]:
    flat = tensor.detach().flatten().double()
    return [
        f"{float(flat.sum()):.9g}",
        f"{float(flat.square().sum()):.9g}",
        f"{float(flat[:: 1 + len(flat) // 64].sum()):.9g}",
    ]
