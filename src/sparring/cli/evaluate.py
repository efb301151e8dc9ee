"""`sparring eval …`: one command per measurement. Nothing is computed here; heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sparring.cli.options import (
    Commands,
    Config,
    Explain,
    Out,
    Overrides,
    Work,
    begin,
    load,
    settings_command,
)

if TYPE_CHECKING:
    from sparring.evaluation.bon_command import BonSettings
    from sparring.evaluation.calibration_command import CalibrationSettings
    from sparring.evaluation.oracle_command import OracleAuditSettings
    from sparring.evaluation.prmbench_command import PrmbenchSettings

commands = typer.Typer(cls=Commands, help="Measure a PRM.", no_args_is_help=True)


@settings_command(commands, "prmbench", out="runs/prmbench")
def eval_prmbench() -> Work[PrmbenchSettings]:
    """Measure PRMScore on PRMBench's classes of errors, with intervals."""
    from sparring.evaluation.prmbench_command import PrmbenchSettings, evaluate_prmbench

    return PrmbenchSettings, lambda settings, where: evaluate_prmbench(settings, where.out)


@settings_command(commands, "calibration", out="runs/calibration")
def eval_calibration() -> Work[CalibrationSettings]:
    """Measure and mend calibration; store threshold and map."""
    from sparring.evaluation.calibration_command import CalibrationSettings, evaluate_calibration

    return CalibrationSettings, lambda settings, where: evaluate_calibration(settings, where.out)


@settings_command(commands, "bon", out="runs/bon")
def eval_bon() -> Work[BonSettings]:
    """Best-of-N curves on samples."""
    from sparring.evaluation.bon_command import BonSettings, evaluate_bon

    return BonSettings, lambda settings, where: evaluate_bon(settings, where.out)


@commands.command("compare")
def eval_compare_command(
    a: Annotated[Path, typer.Argument(help="Scores of A.")],
    b: Annotated[Path, typer.Argument(help="Scores of B.")],
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/compare"),
    explain: Explain = False,
) -> None:
    """Compare two score files on the same labelled traces."""
    from sparring.evaluation.compare import CompareSettings, compare_scores

    settings = load(CompareSettings, config, overrides, explain=explain)
    begin(out)
    compare_scores([a], [b], settings, out)


@settings_command(commands, "oracle", out="runs/oracle")
def eval_oracle() -> Work[OracleAuditSettings]:
    """Measure oracles on human-labelled steps: false alarms, recall, and planted mistakes found, with intervals."""
    from sparring.evaluation.oracle_command import OracleAuditSettings, audit_oracles

    return OracleAuditSettings, lambda settings, where: audit_oracles(settings, where.out, console=Console())


@commands.command("processbench")
def eval_processbench_command(
    data: Annotated[list[Path], typer.Argument(help="ProcessBench files, one per subset.")],
    out: Out = Path("runs/processbench"),
    model: Annotated[Path | None, typer.Option(help="PRM folder to score with.")] = None,
    scores: Annotated[list[Path] | None, typer.Option(help="Score files, instead of a model.")] = None,
    scores_model: Annotated[
        str | None, typer.Option(help="Whose scores, where a file holds several models'.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="Default: the checkpoint's own, else 0.5.")] = None,
    threshold_split: Annotated[
        str | None, typer.Option(help="Choose the best threshold on this subset.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    limit: Annotated[
        int | None, typer.Option(help="Only a random sample of so many cases per subset.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out and count cases without scores.")
    ] = False,
) -> None:
    """Measure F1 of finding the first wrong step (ProcessBench's definition), with intervals."""
    begin(out, after_stop="again")
    from sparring.evaluation.commands import evaluate_processbench

    evaluate_processbench(
        data,
        model=model,
        scores=scores,
        scores_model=scores_model,
        threshold=threshold,
        threshold_split=threshold_split,
        out=out,
        seed=seed,
        limit=limit,
        allow_missing=allow_missing,
    )
