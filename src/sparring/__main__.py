"""The command line: a flat table from command to function.

Contract: nothing is computed here. Errors that a user can mend are printed without a traceback and end with status 2.
Heavy imports happen inside the commands, so that `--help` is instant.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from sparring.errors import SparringError

if TYPE_CHECKING:
    from sparring.settings import Settings

S = TypeVar("S", bound="Settings")

app = typer.Typer(
    help="Train, check and use process reward models.", no_args_is_help=True, pretty_exceptions_enable=False
)
train_app = typer.Typer(help="Train a model.", no_args_is_help=True)
eval_app = typer.Typer(help="Measure a PRM.", no_args_is_help=True)

Config = Annotated[Path | None, typer.Option(help="YAML file of settings.")]
Overrides = Annotated[list[str] | None, typer.Argument(help="Settings as key=value; they win over the file.")]
Out = Annotated[Path, typer.Option(help="Run directory.")]
Explain = Annotated[bool, typer.Option("--explain", help="List all settings with their meaning and stop.")]


@app.command("demo")
def demo(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/demo"),
    explain: Explain = False,
) -> None:
    """Train a PRM on rules and against an adversary, compare both, write a report (minutes on a laptop)."""
    from sparring.demo import DemoSettings, run_demo

    if not explain:
        run_demo(_settings(DemoSettings, config, overrides), out)
    else:
        _explain(DemoSettings)


@train_app.command("aprm")
def train_aprm_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/aprm"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    explain: Explain = False,
) -> None:
    """Train a PRM against an adversary that learns to make errors (APRM)."""
    from sparring.training.aprm_settings import AprmSettings

    if explain:
        _explain(AprmSettings)
        return
    settings = _settings(AprmSettings, config, overrides)
    from sparring.training.console import show_aprm

    show_aprm(settings, out, resume=resume, console=Console(stderr=True))


@train_app.command("chain-policy")
def train_chain_policy_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/chain-policy"),
    explain: Explain = False,
) -> None:
    """Train the tiny policy of the chain-arithmetic world from generated problems."""
    from sparring.training.chain_policy import ChainPolicySettings, train_chain_policy
    from sparring.training.console import step_bar

    if explain:
        _explain(ChainPolicySettings)
        return
    settings = _settings(ChainPolicySettings, config, overrides)
    with step_bar("chain policy", settings.updates, Console(stderr=True)) as progress:
        folder = train_chain_policy(settings, out, progress)
    typer.echo(f"policy: {folder}")


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

    if explain:
        _explain(AttackSettings)
        return
    settings = _settings(AttackSettings, config, overrides)
    from sparring.evaluation.attack_command import run_attack

    run_attack(prm, settings, out, console=Console())


@train_app.command("rl")
def train_rl_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/rl"),
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")
    ] = False,
    explain: Explain = False,
) -> None:
    """Train a policy by reinforcement learning with step rewards."""
    from sparring.training.rl_settings import RlSettings

    if explain:
        _explain(RlSettings)
        return
    settings = _settings(RlSettings, config, overrides)
    from sparring.training.rl import show_rl

    show_rl(settings, out, resume=resume, console=Console(stderr=True))


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

    if explain:
        _explain(LabelSettings)
        return
    settings = _settings(LabelSettings, config, overrides)
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
    from sparring.traces.convert import convert

    written, told = convert(source, target, to=to, data_format=data_format, threshold=threshold)
    typer.echo(f"{written} traces: {target}")
    for reason, count in told.items():
        typer.echo(f"  {reason}: {count}")


@app.command("search")
def search_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/search"),
    explain: Explain = False,
) -> None:
    """Search with a policy and a PRM: accuracy against compute for every method, with paired comparisons."""
    from sparring.evaluation.search_command import SearchSettings, run_search_command

    if explain:
        _explain(SearchSettings)
        return
    run_search_command(_settings(SearchSettings, config, overrides), out, Console())


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

    if explain:
        _explain(ConvertPrmSettings)
        return
    convert_prm(source, _settings(ConvertPrmSettings, config, overrides), out, Console())


@app.command("score")
def score_command(
    model: Annotated[Path, typer.Argument(help="PRM folder.")],
    data: Annotated[Path, typer.Argument(help="File of traces.")],
    out: Annotated[Path, typer.Option(help="JSONL of scores to write.")] = Path("scores.jsonl"),
    data_format: Annotated[
        str, typer.Option("--format", help="Format of the traces (docs/data-formats.md).")
    ] = "auto",
    limit: Annotated[int | None, typer.Option(help="Only the first so many traces.")] = None,
    show: Annotated[int, typer.Option(help="Traces to show, with coloured steps, on a terminal.")] = 5,
) -> None:
    """Score the steps of traces: JSONL out, and on a terminal a readable table."""
    from sparring.evaluation.commands import score_file

    score_file(data, model=model, out=out, data_format=data_format, limit=limit, show=show)


@eval_app.command("prmbench")
def eval_prmbench_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/prmbench"),
    explain: Explain = False,
) -> None:
    """Measure PRMScore on PRMBench's classes of errors, with intervals."""
    from sparring.evaluation.prmbench_command import PrmbenchSettings, evaluate_prmbench

    if explain:
        _explain(PrmbenchSettings)
        return
    evaluate_prmbench(_settings(PrmbenchSettings, config, overrides), out)


@eval_app.command("calibration")
def eval_calibration_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/calibration"),
    explain: Explain = False,
) -> None:
    """Measure and mend calibration; store threshold and map."""
    from sparring.evaluation.calibration_command import CalibrationSettings, evaluate_calibration

    if explain:
        _explain(CalibrationSettings)
        return
    evaluate_calibration(_settings(CalibrationSettings, config, overrides), out)


@eval_app.command("bon")
def eval_bon_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/bon"),
    explain: Explain = False,
) -> None:
    """Best-of-N curves on samples."""
    from sparring.evaluation.bon_command import BonSettings, evaluate_bon

    if explain:
        _explain(BonSettings)
        return
    evaluate_bon(_settings(BonSettings, config, overrides), out)


@eval_app.command("compare")
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

    if explain:
        _explain(CompareSettings)
        return
    compare_scores([a], [b], _settings(CompareSettings, config, overrides), out)


@eval_app.command("oracle")
def eval_oracle_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/oracle"),
    explain: Explain = False,
) -> None:
    """Measure oracles on human-labelled steps: false alarms, recall, and planted mistakes found, with intervals."""
    from sparring.evaluation.oracle_command import OracleAuditSettings, audit_oracles

    if explain:
        _explain(OracleAuditSettings)
        return
    audit_oracles(_settings(OracleAuditSettings, config, overrides), out, console=Console())


@eval_app.command("processbench")
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
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap.")] = 0,
    limit: Annotated[
        int | None, typer.Option(help="Only a random sample of so many cases per subset.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Leave out and count cases without scores.")
    ] = False,
) -> None:
    """Measure F1 of finding the first wrong step (ProcessBench's definition), with intervals."""
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


def _train_supervised(
    name: str, overrides: list[str] | None, config: Path | None, out: Path, resume: bool, explain: bool
) -> None:
    from sparring.training import supervised_settings

    kinds: dict[str, type[supervised_settings.SupervisedSettings]] = {
        "prm": supervised_settings.PrmSettings,
        "orm": supervised_settings.OrmSettings,
        "value": supervised_settings.ValueSettings,
    }[name]
    if explain:
        _explain(kinds[name])
        return
    settings = _settings(kinds[name], config, overrides)
    from sparring.training.supervised import show_supervised

    show_supervised(settings, out, resume=resume, console=Console(stderr=True))


Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]


@train_app.command("prm")
def train_prm_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/prm"),
    resume: Resume = False,
    explain: Explain = False,
) -> None:
    """Train a process reward model on step labels."""
    _train_supervised("prm", overrides, config, out, resume, explain)


@train_app.command("orm")
def train_orm_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/orm"),
    resume: Resume = False,
    explain: Explain = False,
) -> None:
    """Train an outcome reward model on whether solutions end well."""
    _train_supervised("orm", overrides, config, out, resume, explain)


@train_app.command("value")
def train_value_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/value"),
    resume: Resume = False,
    explain: Explain = False,
) -> None:
    """Train a value model on the measured values of prefixes (PAV)."""
    _train_supervised("value", overrides, config, out, resume, explain)


@app.command("migrate")
def migrate_command(
    data: Annotated[Path, typer.Argument(help="File made for TRL's PRMTrainer or OpenRLHF's train_prm.")],
    out: Annotated[Path, typer.Argument(help="File of traces to write.")],
    overrides: Overrides = None,
    config: Config = None,
) -> None:
    """Convert data made for TRL's or OpenRLHF's PRM trainer to our own form (docs/migration.md)."""
    from sparring.traces.formats.openrlhf import MigrateSettings
    from sparring.traces.migrate import show_migration

    show_migration(data, out, _settings(MigrateSettings, config, overrides), Console())


app.add_typer(train_app, name="train")
app.add_typer(eval_app, name="eval")


def _settings(cls: type[S], config: Path | None, overrides: list[str] | None) -> S:
    from sparring.settings import load_settings

    return load_settings(cls, config, overrides or [])


def _explain(cls: type[Settings]) -> None:
    from sparring.settings import describe

    typer.echo(describe(cls))


def main() -> None:
    """Run the command line."""
    try:
        app()
    except SparringError as error:
        Console(stderr=True).print(
            f"[bold red]error:[/] {escape(str(error))}", soft_wrap=True, highlight=False
        )
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
