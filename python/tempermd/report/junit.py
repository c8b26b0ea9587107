"""The report as JUnit XML, which CI services show: a suite for each model, a case for each run."""

from __future__ import annotations

from collections.abc import Sequence
from xml.etree import ElementTree

from tempermd.events import Analysis
from tempermd.report.fates import failure_class, first_damning
from tempermd.report.summary import Summary, kind_name


def junit_xml(summary: Summary, analyses: Sequence[Analysis]) -> str:
    """Return the runs as JUnit XML.

    A run with a fatal or severe event fails, and has the class of its first one as a property; one
    that a machine ended is an error, since it says nothing about its model; warnings are in its
    output.
    """
    root = ElementTree.Element("testsuites", name="robustness")
    for model in summary.models:
        runs = [one for one in analyses if one.label.model == model.name]
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=model.name,
            tests=str(len(runs)),
            failures=str(sum(run.failed for run in runs)),
            errors=str(sum(_is_error(run) for run in runs)),
            time=f"{sum(run.wall_s or 0.0 for run in runs):.3f}",
        )
        for run in runs:
            _case(suite, run)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _is_error(run: Analysis) -> bool:
    return run.outcome == "infrastructure_failure" and not run.failed


def _case(suite: ElementTree.Element, run: Analysis) -> None:
    label = run.label
    parts = [label.structure, label.condition]
    parts += [] if label.seed is None else [f"seed {label.seed}"]
    case = ElementTree.SubElement(
        suite,
        "testcase",
        classname=label.model,
        name=", ".join(part for part in parts if part) or label.run_id,
        time=f"{run.wall_s or 0.0:.3f}",
    )
    lines = [
        f"{event.event_class}: {event.severity} {kind_name(event.kind)} at step {event.step} "
        f"({event.time_ps:.3f} ps): {event.message}"
        for event in run.events
    ]
    failed_by = failure_class(run)
    if failed_by is not None:
        properties = ElementTree.SubElement(case, "properties")
        ElementTree.SubElement(properties, "property", name="class", value=failed_by)
        first = first_damning(run)
        kind = "crash" if first is None else first.kind
        message = run.reason if first is None else first.message
        failure = ElementTree.SubElement(case, "failure", type=kind, message=message)
        failure.text = "\n".join(lines) or run.reason
    elif _is_error(run):
        ElementTree.SubElement(case, "error", type="infrastructure", message=run.reason)
    if lines and not run.failed:
        ElementTree.SubElement(case, "system-out").text = "\n".join(lines)
