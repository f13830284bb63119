"""A report as JUnit XML, in which a leak above the limit is a failed test."""

import re
from pathlib import Path
from xml.etree import ElementTree

from unmask import storage
from unmask.report import form, numbers, words
from unmask.report.cells import CellView, cells
from unmask.report.folder import load
from unmask.report.rows import rows

_FORBIDDEN = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write(run: Path, out: Path) -> Path:
    """Write one test case per cell: failed if any attack's leak lies above `fail_on`.

    A cell without a measurement is skipped, with the reason. Without a limit nothing fails.

    Args:
        run: the run's folder.
        out: the file to write.

    Returns:
        The file that was written.

    Raises:
        BadInput: if the folder holds no run or no finished record.
        StorageError: if the disk is full or the file cannot be written.

    Example:
        >>> write(Path("runs/minilm"), Path("leaks.xml"))  # doctest: +SKIP
        PosixPath('leaks.xml')
    """
    found = load(run)
    suite = ElementTree.Element("testsuite", name="unmask")
    for cell in cells(found.grid, rows(found.records)):
        suite.append(_case(cell, found.model, found.fail_on))
    cases = list(suite)
    suite.set("tests", str(len(cases)))
    suite.set("failures", str(sum(case.find("failure") is not None for case in cases)))
    suite.set("skipped", str(sum(case.find("skipped") is not None for case in cases)))
    return storage.replace(out, ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n")


def _case(cell: CellView, model: str, limit: float | None) -> ElementTree.Element:
    measured = [row for row in (cell.strongest, cell.baseline) if row is not None]
    seconds = sum((row.seconds or 0.0) * row.n for row in measured)
    case = ElementTree.Element(
        "testcase",
        classname=_clean(model),
        name=_clean(words.place(cell.plan.layer, cell.plan.component)),
        time=f"{seconds:.3f}",
    )
    if not measured:
        ElementTree.SubElement(case, "skipped", message=_clean(cell.absent or cell.reason or "not measured"))
        return case
    top = max(measured, key=lambda row: row.leak)
    if limit is not None and top.leak > limit:
        message = f"{top.attack} reaches {top.kind.leak_name} {form.score(top.leak)}, the limit is {limit:g}"
        failure = ElementTree.SubElement(case, "failure", type="leak", message=_clean(message))
        failure.text = _clean(numbers.cell(cell))
    return case


def _clean(text: str) -> str:
    # XML has no way to write most control characters, not even escaped.
    return _FORBIDDEN.sub("?", text)
