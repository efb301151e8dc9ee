"""`sparring label --compare-provers`: the table at the end of a run, and what it refuses."""

import pytest
from typer.testing import CliRunner

from sparring.__main__ import app
from sparring.errors import SettingsError
from sparring.labels.settings import LabelSettings
from sparring.progress.command import refuse_other_provers
from sparring.runs import read_metrics


def test_a_run_ends_with_the_comparison(tmp_path):
    words = ["problems=4", "n_cov=2", "n_mc=4", "max_new_tokens=120", "device=cpu"]
    result = CliRunner().invoke(app, ["label", *words, "--out", str(tmp_path), "--compare-provers"])
    assert result.exit_code == 0, result.output
    metrics = read_metrics(tmp_path / "provers" / "metrics.json")
    assert {"provers.base.first_order", "provers.bo4.alignment"} <= set(metrics)


@pytest.mark.parametrize(
    "given",
    [{"prover": "best-of-4"}, {"adaptive": True}, {"mode": "first_pit"}],
    ids=lambda given: next(iter(given)),
)
def test_values_that_are_not_the_base_policys_are_refused(given):
    with pytest.raises(SettingsError, match=next(iter(given))):
        refuse_other_provers(LabelSettings.model_validate(given))
