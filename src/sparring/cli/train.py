"""`sparring train …`: one command per method. Nothing is computed here; heavy imports happen inside."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console

from sparring.cli.options import Commands, Where, Work, settings_command

if TYPE_CHECKING:
    from sparring.training.aprm_settings import AprmSettings
    from sparring.training.chain_policy import ChainPolicySettings
    from sparring.training.rl_settings import RlSettings
    from sparring.training.supervised_settings import (
        OrmSettings,
        PrmSettings,
        SupervisedSettings,
        ValueSettings,
    )

commands = typer.Typer(cls=Commands, help="Train a model.", no_args_is_help=True)


@settings_command(commands, "aprm", out="runs/aprm", after_stop="--resume")
def train_aprm() -> Work[AprmSettings]:
    """Train a PRM against an adversary that learns to make errors (APRM)."""
    from sparring.training.aprm_settings import AprmSettings
    from sparring.training.console import show_aprm

    return AprmSettings, lambda settings, where: show_aprm(
        settings, where.out, resume=where.resume, console=Console(stderr=True)
    )


@settings_command(commands, "chain-policy", out="runs/chain-policy", kind="folder", after_stop="anew")
def train_chain_policy() -> Work[ChainPolicySettings]:
    """Train the tiny policy of the chain-arithmetic world from generated problems."""
    from sparring.training.chain_policy import ChainPolicySettings, train_chain_policy
    from sparring.training.console import step_bar

    def work(settings: ChainPolicySettings, where: Where) -> None:
        with step_bar("chain policy", settings.updates, Console(stderr=True)) as progress:
            folder = train_chain_policy(settings, where.out, progress)
        typer.echo(f"policy: {folder}")

    return ChainPolicySettings, work


@settings_command(commands, "rl", out="runs/rl", after_stop="--resume")
def train_rl() -> Work[RlSettings]:
    """Train a policy by reinforcement learning with step rewards."""
    from sparring.training.rl import show_rl
    from sparring.training.rl_settings import RlSettings

    return RlSettings, lambda settings, where: show_rl(
        settings, where.out, resume=where.resume, console=Console(stderr=True)
    )


@settings_command(commands, "prm", out="runs/prm", after_stop="--resume")
def train_prm() -> Work[PrmSettings]:
    """Train a process reward model on step labels."""
    from sparring.training.supervised_settings import PrmSettings

    return PrmSettings, _supervised


@settings_command(commands, "orm", out="runs/orm", after_stop="--resume")
def train_orm() -> Work[OrmSettings]:
    """Train an outcome reward model on whether solutions end well."""
    from sparring.training.supervised_settings import OrmSettings

    return OrmSettings, _supervised


@settings_command(commands, "value", out="runs/value", after_stop="--resume")
def train_value() -> Work[ValueSettings]:
    """Train a value model on the measured values of prefixes (PAV)."""
    from sparring.training.supervised_settings import ValueSettings

    return ValueSettings, _supervised


def _supervised(settings: SupervisedSettings, where: Where) -> None:
    from sparring.training.supervised import show_supervised

    show_supervised(settings, where.out, resume=where.resume, console=Console(stderr=True))
