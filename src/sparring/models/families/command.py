"""What `sparring convert-prm` does: a downloaded PRM becomes a folder that `load_scorer` reads.

Contract: the folder appears whole or not at all; no code of the source is run. The sidecar holds what the family's model
card says, overridden where settings say so, and is shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError
from rich.console import Console

from sparring.errors import CheckpointError, SettingsError, did_you_mean
from sparring.files import atomic_directory, dumps
from sparring.locks import writes
from sparring.models.families.registry import FAMILIES
from sparring.models.families.source import copy_files, source_config
from sparring.models.loading import load_tokenizer
from sparring.models.scorer import check_scorer
from sparring.models.sidecar import Sidecar, checked_sidecar, problems, write_sidecar
from sparring.settings import Settings


class ConvertPrmSettings(Settings):
    """Settings of `sparring convert-prm`."""

    family: str
    """Name of the family; `docs/prm-families.md` lists them."""
    reference: Path | None = None
    """Folder of the reference model, for implicit PRMs (`eurus`)."""
    sidecar: dict[str, Any] = Field({})
    """Fields of `sparring.json` that differ from the family's preset, such as ``sidecar.threshold=0.4``."""


@writes("out", inside=False)
def convert_prm(
    source: Path, settings: ConvertPrmSettings, out: Path, console: Console | None = None
) -> Sidecar:
    """Convert a PRM folder; return the sidecar.

    Raises:
        SettingsError: no such family, a reference that is missing or not wanted, a bad sidecar field.
        CheckpointError: the source is not of this family, or its weights are not those of its model.
    """
    if settings.family not in FAMILIES:
        raise SettingsError(f"unknown family '{settings.family}'{did_you_mean(settings.family, FAMILIES)}")
    family = FAMILIES[settings.family]
    if family.reference != (settings.reference is not None):
        wanted = "needs its reference model" if family.reference else "has no reference model"
        raise SettingsError(f"the family '{settings.family}' {wanted} (reference=FOLDER)")
    preset = family.preset(source_config(source), load_tokenizer(source))
    try:
        sidecar = checked_sidecar(_over(preset.model_dump(mode="json"), settings.sidecar))
    except ValidationError as error:
        raise SettingsError(f"sidecar.{problems(error)}") from None
    with atomic_directory(out) as folder:
        family.write(source, folder)
        if settings.reference is not None and sidecar.log_ratio is not None:
            source_config(settings.reference)
            (folder / sidecar.log_ratio.reference).mkdir()
            copy_files(settings.reference, folder / sidecar.log_ratio.reference, weights=True)
        write_sidecar(folder, sidecar)
        try:
            check_scorer(folder)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(folder), str(source))) from error
        (folder / "README.md").write_text(
            f"# {source.name}\n\nConverted by `sparring convert-prm`, family `{settings.family}`. "
            "How it is scored stands in `sparring.json`.\n",
            encoding="utf-8",
        )
    if console is not None:
        console.print_json(dumps(sidecar.model_dump(mode="json")))
        console.print(f"converted: {out}", highlight=False, markup=False)
    return sidecar


def _over(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Return `base` with `changes` laid over it, group by group."""
    merged = dict(base)
    for name, value in changes.items():
        inner = merged.get(name)
        merged[name] = _over(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return merged
