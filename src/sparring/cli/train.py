"""`sparring train …`: one command per method. Nothing is computed here; heavy imports happen inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparring.cli.options import Config, Explain, Out, Overrides, explain_settings, load

commands = typer.Typer(help="Train a model.", no_args_is_help=True)


@commands.command("aprm")
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
        explain_settings(AprmSettings)
        return
    settings = load(AprmSettings, config, overrides)
    from sparring.training.console import show_aprm

    show_aprm(settings, out, resume=resume, console=Console(stderr=True))


@commands.command("chain-policy")
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
        explain_settings(ChainPolicySettings)
        return
    settings = load(ChainPolicySettings, config, overrides)
    with step_bar("chain policy", settings.updates, Console(stderr=True)) as progress:
        folder = train_chain_policy(settings, out, progress)
    typer.echo(f"policy: {folder}")


@commands.command("rl")
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
        explain_settings(RlSettings)
        return
    settings = load(RlSettings, config, overrides)
    from sparring.training.rl import show_rl

    show_rl(settings, out, resume=resume, console=Console(stderr=True))


def _train_supervised(
    name: str, overrides: list[str] | None, config: Path | None, out: Path, resume: bool, explain: bool
) -> None:
    from sparring.training.supervised_settings import (
        OrmSettings,
        PrmSettings,
        SupervisedSettings,
        ValueSettings,
    )

    kinds: dict[str, type[SupervisedSettings]] = {
        "prm": PrmSettings,
        "orm": OrmSettings,
        "value": ValueSettings,
    }
    if explain:
        explain_settings(kinds[name])
        return
    settings = load(kinds[name], config, overrides)
    from sparring.training.supervised import show_supervised

    show_supervised(settings, out, resume=resume, console=Console(stderr=True))


Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")]


@commands.command("prm")
def train_prm_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/prm"),
    resume: Resume = False,
    explain: Explain = False,
) -> None:
    """Train a process reward model on step labels."""
    _train_supervised("prm", overrides, config, out, resume, explain)


@commands.command("orm")
def train_orm_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/orm"),
    resume: Resume = False,
    explain: Explain = False,
) -> None:
    """Train an outcome reward model on whether solutions end well."""
    _train_supervised("orm", overrides, config, out, resume, explain)


@commands.command("value")
def train_value_command(
    overrides: Overrides = None,
    config: Config = None,
    out: Out = Path("runs/value"),
    resume: Resume = False,
    explain: Explain = False,
) -> None:
    """Train a value model on the measured values of prefixes (PAV)."""
    _train_supervised("value", overrides, config, out, resume, explain)
