"""The command line: one subcommand per station, no logic of its own."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from typer.exceptions import TyperException

from tempermd.cli import structures, labels, datasets, models, runs, campaigns, studies  # isort: skip
from tempermd.cli.application import app
from tempermd.records import UserError

__all__ = [
    "app",
    "campaigns",
    "datasets",
    "deploy_main",
    "labels",
    "main",
    "models",
    "runs",
    "structures",
    "studies",
]


def main() -> NoReturn:
    """Run ``tempermd``: a user's mistake is one sentence on stderr and exit code 1."""
    _run(app, "tempermd")


def deploy_main() -> NoReturn:
    """Run ``deploy-model``, the same as ``tempermd deploy``."""
    deploy_app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )
    deploy_app.command()(models.deploy)
    _run(deploy_app, "deploy-model")


STOPPED, TERMINATED = 130, 143
"""Exit codes as shells give them for SIGINT and SIGTERM."""


def _run(application: typer.Typer, name: str) -> NoReturn:
    """Give every way to end its exit code; 2 is kept for the verdict FAIL."""
    terminated = []

    def stop(*_: Any) -> NoReturn:
        """Stop as Ctrl-C does when a scheduler says that time is over."""
        terminated.append(True)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    try:
        code = application(prog_name=name, standalone_mode=False)
    except TyperException as error:
        error.show()
        sys.exit(1)
    except (UserError, OSError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, typer.Abort):
        code = STOPPED
    if code == STOPPED:  # typer's own word for Ctrl-C
        print(f"{name}: stopped; the same command goes on from here", file=sys.stderr)
        code = TERMINATED if terminated else STOPPED
    sys.exit(code if isinstance(code, int) else 0)


@app.command()
def doctor(
    cluster: Annotated[
        str | None,
        typer.Option(help="Send a short job through this engine: a name or a profile's TOML."),
    ] = None,
    folder: Annotated[
        Path, typer.Option(help="That the cluster's nodes share with this machine.")
    ] = Path(),
    patience: Annotated[float, typer.Option(help="Seconds that the job may take.")] = 600.0,
) -> None:
    """Check everything that a run needs, one line each; exit code 1 when something lacks.

    Example: tempermd doctor --cluster slurm.toml
    """
    from tempermd import doctor as station
    from tempermd import engine

    if cluster is None:
        findings = station.examine()
    else:
        profile = engine.read_profile(cluster)
        findings = station.examine_cluster(profile, folder, patience)
    for finding in findings:
        print(finding.line())
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)
