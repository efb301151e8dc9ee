"""The command line: a flat table from command to function.

Contract: nothing is computed here; how a command ends is in `cli/ending.py`. Heavy imports happen inside the commands, so
that `--help` is instant. `sparring train …` and `sparring eval …` are in `cli/`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sparring.cli import ending, evaluate, train
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
    from sparring.demo import DemoSettings
    from sparring.evaluation.search_command import SearchSettings

app = typer.Typer(
    cls=Commands,
    help="Train, check and use process reward models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(train.commands, name="train")
app.add_typer(evaluate.commands, name="eval")


@settings_command(app, "demo", out="runs/demo")
def demo() -> Work[DemoSettings]:
    """Train a PRM on rules and against an adversary, compare both, write a report (minutes on a laptop)."""
    from sparring.demo import DemoSettings, run_demo

    return DemoSettings, lambda settings, where: run_demo(settings, where.out)


@app.command("attack")
def attack_command(
    prm: Annotated[Path, typer.Argument(help="PRM folder to attack.")],
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/attack"),
    explain: Explain = False,
) -> None:
    """Measure how often a frozen PRM accepts wrong steps: rules, frozen and freshly trained adversaries."""
    from sparring.evaluation.attack import AttackSettings

    settings = load(AttackSettings, config, overrides, explain=explain)
    begin(out)
    from sparring.evaluation.attack_command import run_attack

    run_attack(prm, settings, out, console=Console())


@app.command("label")
def label_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/label"),
    compare_provers: Annotated[
        bool,
        typer.Option(
            "--compare-provers", help="End with a table of provers and their worth (docs/progress.md)."
        ),
    ] = False,
    other_run: Annotated[
        list[Path] | None,
        typer.Option(help="Finished run of another policy on the same solutions, to compare as a prover."),
    ] = None,
    explain: Explain = False,
) -> None:
    """Label steps by rollouts: Monte-Carlo values, first errors by binary search, first pits."""
    from sparring.labels.settings import LabelSettings

    settings = load(LabelSettings, config, overrides, explain=explain)
    begin(out, after_stop="again")
    from sparring.labels.command import run_label

    console = Console(stderr=True)
    if not compare_provers:
        run_label(settings, out, console)
        return
    from sparring.progress.command import compare_label_runs, refuse_other_provers

    refuse_other_provers(settings)
    run_label(settings, out, console)
    compare_label_runs(out, other_run or [], console)


@app.command("convert")
def convert_command(
    source: Annotated[Path, typer.Argument(help="File of traces in any known format.")],
    target: Annotated[Path, typer.Argument(help="JSONL to write.")],
    to: Annotated[str, typer.Option("--to", help="sparring, trl_stepwise or math_shepherd.")] = "sparring",
    data_format: Annotated[
        str, typer.Option("--format", help="Format of the source (docs/data-formats.md).")
    ] = "auto",
    threshold: Annotated[float, typer.Option(help="Label from which on a step counts as right.")] = 0.5,
) -> None:
    """Convert traces between formats; what cannot be written is counted and shown."""
    begin(target, "file")
    from sparring.traces.convert import convert

    written, told = convert(source, target, to=to, data_format=data_format, threshold=threshold)
    typer.echo(f"{written} traces: {target}")
    for reason, count in told.items():
        typer.echo(f"  {reason}: {count}")


@settings_command(app, "search", out="runs/search")
def search_command() -> Work[SearchSettings]:
    """Search with a policy and a PRM: accuracy against compute for every method, with paired comparisons."""
    from sparring.evaluation.search_command import SearchSettings, run_search_command

    return SearchSettings, lambda settings, where: run_search_command(settings, where.out, console=Console())


@app.command("convert-prm")
def convert_prm_command(
    source: Annotated[Path, typer.Argument(help="Downloaded PRM folder.")],
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("models/prm"),
    explain: Explain = False,
) -> None:
    """Turn a public PRM into a folder that every command can score with."""
    from sparring.models.families.command import ConvertPrmSettings, convert_prm

    settings = load(ConvertPrmSettings, config, overrides, explain=explain)
    begin(out, "folder")
    convert_prm(source, settings, out, Console())


@app.command("score")
def score_command(
    model: Annotated[Path, typer.Argument(help="PRM folder.")],
    data: Annotated[Path, typer.Argument(help="File of traces.")],
    out: Annotated[Path, typer.Option(help="JSONL of scores to write.")] = Path("scores.jsonl"),
    data_format: Annotated[
        str, typer.Option("--format", help="Format of the traces (docs/data-formats.md).")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(help="Only the first so many traces.")] = None,
    show: Annotated[int, typer.Option(min=0, help="Traces to show, with coloured steps, on a terminal.")] = 5,
) -> None:
    """Score the steps of traces: JSONL out, and on a terminal a readable table."""
    begin(out, "file", "again")
    from sparring.evaluation.commands import score_file

    score_file(data, model=model, out=out, data_format=data_format, limit=limit, show=show)


@app.command("report")
def report_command(
    run: Annotated[Path, typer.Argument(help="Directory of a finished evaluation or demo run.")],
) -> None:
    """Make the HTML page of a finished run again from its files."""
    begin(run)
    from sparring.report.evaluation import write_report

    typer.echo(f"report: {write_report(run)}")


@app.command("migrate")
def migrate_command(
    data: Annotated[Path, typer.Argument(help="File made for TRL's PRMTrainer or OpenRLHF's train_prm.")],
    out: Annotated[Path, typer.Argument(help="File of traces to write.")],
    overrides: Overrides = None,
    config: Config = None,
    explain: Explain = False,
) -> None:
    """Convert data made for TRL's or OpenRLHF's PRM trainer to our own form (docs/migration.md)."""
    from sparring.traces.formats.openrlhf import MigrateSettings
    from sparring.traces.migrate import show_migration

    settings = load(MigrateSettings, config, overrides, explain=explain)
    begin(out, "file")
    show_migration(data, out, settings, Console())


def main() -> None:
    """Run the command line and end the process with its status."""
    sys.exit(ending.run(app))


if __name__ == "__main__":
    main()
