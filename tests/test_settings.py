"""The settings loader: what it accepts, what it refuses, and what it says then."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Literal

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, ValidationError, model_validator

from sparring.errors import SettingsError
from sparring.settings import MOST, Settings, dump_settings, load_settings, parse_settings


class Optimizer(Settings):
    learning_rate: float = Field(default=1e-3, gt=0)
    """Step size."""
    betas: tuple[float, float] = (0.9, 0.95)
    """Decay of the first
    and second moment."""


class Phase(Settings):
    optimizer: Optimizer = Optimizer(betas=(0.5, 0.6))
    length: int = 1


class Training(Settings):
    updates: int = Field(default=300, ge=1, le=1_000_000)
    """Number of updates."""
    optimizer: Optimizer = Optimizer(learning_rate=0.5)
    """How steps are taken."""
    phase: Phase = Phase(optimizer=Optimizer(learning_rate=0.25))
    adversary: Literal["rules", "frozen", "trained"] = "trained"
    out: Path = Path("runs/first")
    name: str = "plain"
    resume: bool = False
    limit: int | None = None
    weights: dict[str, float] = Field(default_factory=dict)
    extra_optimizers: list[Optimizer] = Field(default_factory=list)
    sizes: tuple[int, ...] = (64, 32)

    @model_validator(mode="after")
    def _check(self) -> Training:
        if self.updates == 13:
            raise ValueError("13 updates bring bad luck")
        return self


def load(tmp_path: Path, text: str, *overrides: str) -> Training:
    file = tmp_path / "run.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(Training, file, overrides)


def refusal(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, text, *overrides)
    return str(caught.value)


# Accepted


def test_no_file_and_no_override_give_the_defaults() -> None:
    assert load_settings(Training, None, []) == Training()


def test_an_empty_or_commented_out_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == load(tmp_path, "# updates: 3\n") == Training()


def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    settings = load(tmp_path, "updates: 5\nname: file\n", "updates=6")
    assert (settings.updates, settings.name) == (6, "file")


@pytest.mark.parametrize(
    "overrides",
    [
        ("updates=6", "updates=7"),
        ("updates=6", "updates=6"),
        ("updates=6", "name=x", " updates =7"),
        ("optimizer.betas=[0, 0]", "optimizer={betas: [1, 1]}"),
        ("optimizer={betas: [1, 1]}", "optimizer.betas=[0, 0]"),
        ("optimizer={learning_rate: 1.0, betas: [1, 1]}", "optimizer={learning_rate: 1.0}"),
        ("optimizer.betas=[0, 0]", "optimizer={}"),
        ("phase.optimizer.betas=[1, 1]", "phase={optimizer: {betas: [1, 1]}}"),
        ("weights.a=1", "weights.a=2"),
    ],
)
def test_a_setting_given_twice_is_refused(tmp_path: Path, overrides: tuple[str, ...]) -> None:
    assert f"is given twice, before by {overrides[0]!r}" in refusal(tmp_path, "updates: 5\n", *overrides)


def test_members_of_one_group_may_come_in_several_overrides(tmp_path: Path) -> None:
    settings = load(
        tmp_path, "", "optimizer={betas: [0, 0]}", "optimizer.learning_rate=2.0", "weights.a=1", "weights.b=2"
    )
    assert settings.optimizer == Optimizer(learning_rate=2.0, betas=(0.0, 0.0))
    assert settings.weights == {"a": 1.0, "b": 2.0}


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_bytes(b"\xef\xbb\xbfupdates: 5\r\nname: x\r\n")
    assert load_settings(Training, file, []).updates == 5


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("1E-4", 1e-4), ("1.e2", 100.0), (".5", 0.5), ("1", 1.0), ("2e0", 2.0), ("+3", 3.0)],
)
def test_numbers_with_or_without_point_and_exponent(tmp_path: Path, text: str, value: float) -> None:
    for settings in (
        load(tmp_path, f"optimizer:\n  learning_rate: {text}\n"),
        load(tmp_path, "", f"optimizer.learning_rate={text}"),
    ):
        assert settings.optimizer.learning_rate == value
        assert type(settings.optimizer.learning_rate) is float


@pytest.mark.parametrize(("text", "value"), [("1e3", 1000), ("2E+2", 200), ("1_000", 1000), ("+7", 7)])
def test_whole_numbers_may_carry_an_exponent(tmp_path: Path, text: str, value: int) -> None:
    settings = load(tmp_path, f"updates: {text}\n")
    assert settings.updates == value
    assert type(settings.updates) is int


@pytest.mark.parametrize(
    "word", ["no", "off", "yes", "on", "y", "010", "1:30", "2024-01-01", "=", "<<", "0x1f"]
)
def test_words_that_older_yaml_rewrites_stay_texts(tmp_path: Path, word: str) -> None:
    assert load(tmp_path, "", f"name={word}").name == word


def test_quotes_make_a_text_of_anything(tmp_path: Path) -> None:
    assert load(tmp_path, 'name: "3"\n').name == "3"
    assert load(tmp_path, "", "name='true # not a comment'").name == "true # not a comment"
    assert load(tmp_path, "name: |\n  null\n").name == "null\n"


def test_lists_fill_tuples_and_texts_fill_paths(tmp_path: Path) -> None:
    settings = load(tmp_path, "sizes: [1, 2]\nout: there\n", "optimizer.betas=[0, 1]")
    assert settings.sizes == (1, 2)
    assert settings.out == Path("there")
    assert settings.optimizer.betas == (0.0, 1.0)


def test_null_fills_an_optional_setting(tmp_path: Path) -> None:
    assert load(tmp_path, "limit: 3\n", "limit=null").limit is None
    assert load(tmp_path, "limit: 3\n", "limit=").limit is None


def test_a_partly_given_group_keeps_the_defaults_of_the_class_that_holds_it(tmp_path: Path) -> None:
    settings = load(tmp_path, "", "optimizer.betas=[0, 0]", "phase.optimizer.betas=[1, 1]", "phase.length=2")
    assert settings.optimizer == Optimizer(learning_rate=0.5, betas=(0.0, 0.0))
    assert settings.phase == Phase(optimizer=Optimizer(learning_rate=0.25, betas=(1.0, 1.0)), length=2)


def test_a_dotted_override_makes_a_missing_group_and_reaches_mappings(tmp_path: Path) -> None:
    assert load(tmp_path, "weights: {math: 1}\n", "weights.code=0.5").weights == {"math": 1.0, "code": 0.5}


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        Training().updates = 3  # type: ignore[misc]


# Refused


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("updates: ten", "updates: expected whole number, got text 'ten'"),
        ("updates: 1.0", "updates: expected whole number, got number 1.0"),
        ("updates: true", "updates: expected whole number, got true"),
        ("updates: 0", "updates: must be at least 1, got whole number 0"),
        ("updates: 2000000000", "updates: must be at most 1,000,000, got whole number"),
        ("resume: 1", "resume: expected true or false, got whole number 1"),
        ("resume: yes", "resume: expected true or false, got text 'yes'"),
        ("optimizer: {learning_rate: true}", "optimizer.learning_rate: expected number, got true"),
        (
            "optimizer: {learning_rate: .nan}",
            "optimizer.learning_rate: must be a finite number, got number NaN",
        ),
        ("optimizer: {learning_rate: 1e999}", "optimizer.learning_rate: must be a finite number"),
        ("optimizer: 3", "optimizer: expected mapping with learning_rate, betas, got whole number 3"),
        (
            "optimizer: {betas: [1]}",
            "optimizer.betas: expected list of exactly 2 (number, number), got list [1]",
        ),
        ("name: 3", "name: expected text, got whole number 3 (put it in quotes)"),
        ("out: null", "out: expected path, got null (put it in quotes)"),
        ("limit: x", "limit: expected whole number or null, got text 'x'"),
        ("weights: {a: b}", "weights.a: expected number, got text 'b'"),
        ("sizes: [1, x]", "sizes.1: expected whole number, got text 'x'"),
        ("sizes: 3", "sizes: expected list of (whole number), got whole number 3"),
        (
            "adversary: ruls",
            "adversary: expected 'rules' or 'frozen' or 'trained', got text 'ruls' (did you mean 'rules'?)",
        ),
        ("learning_rat: 1", "unknown setting 'learning_rat' (known: "),
        ("updatse: 1", "unknown setting 'updatse' (did you mean 'updates'?)"),
        ("optimizer: {betta: 1}", "unknown setting 'optimizer.betta' (did you mean 'betas'?)"),
        (
            "extra_optimizers: [{}, {bet: 1}]",
            "unknown setting 'extra_optimizers.1.bet' (did you mean 'betas'?)",
        ),
    ],
)
def test_a_bad_setting_is_named_with_its_line_the_expected_type_and_the_given_value(
    tmp_path: Path, text: str, words: str
) -> None:
    message = refusal(tmp_path, f"# a comment\n{text}\n")
    assert message.startswith(f"{tmp_path / 'run.yaml'}:2: {words}")


def test_a_long_value_is_shortened(tmp_path: Path) -> None:
    assert len(refusal(tmp_path, f"updates: {'x' * 10_000}\n")) < 300


def test_all_bad_settings_are_listed_at_once_each_with_its_own_place(tmp_path: Path) -> None:
    message = refusal(
        tmp_path, "updates: ten\noptimizer:\n  lr: 1\nsizes:\n  - 1\n  - b\n", "resume=maybe", "oout=x"
    )
    file = tmp_path / "run.yaml"
    assert message.splitlines()[0] == "5 bad settings:"
    for line in (
        f"  {file}:1: updates: expected whole number, got text 'ten'",
        f"  {file}:3: unknown setting 'optimizer.lr' (known: betas, learning_rate)",
        f"  {file}:6: sizes.1: expected whole number, got text 'b'",
        "  override 'resume=maybe': resume: expected true or false, got text 'maybe'",
        "  override 'oout=x': unknown setting 'oout' (did you mean 'out'?)",
    ):
        assert line in message.splitlines()


def test_an_override_takes_the_blame_for_the_value_that_it_replaced(tmp_path: Path) -> None:
    assert refusal(tmp_path, "updates: 3\n", "updates=x").startswith("override 'updates=x': updates:")
    message = refusal(tmp_path, "optimizer:\n  betas: 3\n", "optimizer={betas: x}")
    assert message.startswith("override 'optimizer={betas: x}': optimizer.betas:")
    assert refusal(tmp_path, "", "weights.a=x").startswith(
        "override 'weights.a=x': weights.a: expected number"
    )
    assert refusal(tmp_path, "", "name.a=x").startswith(
        "override 'name.a=x': name: expected text, got mapping"
    )


def test_a_check_across_fields_names_the_file(tmp_path: Path) -> None:
    assert refusal(tmp_path, "updates: 13\n") == f"{tmp_path / 'run.yaml'}: 13 updates bring bad luck"


def test_a_required_setting_is_asked_for() -> None:
    class Needy(Settings):
        seed: int

    with pytest.raises(SettingsError, match="the setting 'seed' is required: whole number"):
        load_settings(Needy, None, [])
    assert load_settings(Needy, None, ["seed=1"]).seed == 1


def test_a_union_is_reported_once() -> None:
    class Either(Settings):
        one: int | str = 1
        group: Optimizer | int = 1

    with pytest.raises(SettingsError) as caught:
        load_settings(Either, None, ["one=[]"])
    assert str(caught.value) == "override 'one=[]': one: expected whole number or text, got list []"
    with pytest.raises(SettingsError, match=r"unknown setting 'group\.beta' .did you mean 'betas'"):
        load_settings(Either, None, ["group.beta=1"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "updates: 1\nname: x\nupdates: 2\n",
            ":3: not usable as YAML: 'updates' is given twice (first in line 1)",
        ),
        ("a: 1\noptimizer: {betas: 1, betas: 2}\n", ":2: not usable as YAML: 'betas' is given twice"),
        ("- updates\n", ": expected lines of 'key: value', got list"),
        ("updates\n", ": expected lines of 'key: value', got text 'updates'"),
        ("updates: [1\n", "not usable as YAML"),
        ("updates: 1\n\tname: x\n", "not usable as YAML"),
        ("updates: 1\n---\nupdates: 2\n", "not usable as YAML"),
        ("a: &x 1\nb: *x\n", ":2: not usable as YAML: anchors and aliases are not supported"),
        ("a: 1\nupdates: !!python/object/apply:os.getcwd []\n", ":2: not usable as YAML: the tag"),
        ("updates: !!int 3\n", ":1: not usable as YAML: the tag"),
        ("? [1, 2]\n: 3\n", ":1: not usable as YAML: a key must be a name"),
        ('name: "\\ud800"\n', "not usable as YAML"),
        (
            f"a: 1\nupdates: {'9' * 5000}\n",
            ":2: not usable as YAML: a whole number has more than 4300 digits",
        ),
        ("updates: " + "[" * 5000 + "\n", "not usable as YAML"),
        ("name: a\x00b\n", "not usable as YAML"),
    ],
)
def test_unusable_files_are_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    message = refusal(tmp_path, text)
    assert message.startswith(str(tmp_path / "run.yaml"))
    assert words in message


def test_unreadable_files_are_refused_by_name(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"name: \xff\xfe\n")
    for path, words in (
        (tmp_path / "absent.yaml", "No such file"),
        (tmp_path, "directory"),
        (binary, "not UTF-8"),
    ):
        with pytest.raises(SettingsError, match=words) as caught:
            load_settings(Training, path, [])
        assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("updates", "expected key=value"),
        ("=3", "expected key=value"),
        ("optimizer..betas=3", "expected key=value"),
        (".updates=3", "expected key=value"),
        ("updates=[", "not usable as YAML"),
        ("name=blue # or green", "'# or green' would be lost as a comment"),
        ("name=#fff", "'#fff' would be lost as a comment"),
        ("updates.more=3", "'updates' is whole number 5"),
        ("name=\udc80", "not usable as YAML"),
    ],
)
def test_malformed_overrides_are_refused_by_name(tmp_path: Path, override: str, words: str) -> None:
    message = refusal(tmp_path, "updates: 5\n", override)
    assert message.startswith(f"override {override!r}")
    assert words in message


# Dump and restore


def test_a_dump_is_json_and_restores_to_the_same_settings(tmp_path: Path) -> None:
    settings = load(
        tmp_path, "out: a/b\nsizes: [3]\nweights: {x: 1}\nextra_optimizers: [{learning_rate: 2}]\n"
    )
    dumped = json.loads(json.dumps(dump_settings(settings), allow_nan=False))
    assert dumped["out"] == "a/b"
    assert parse_settings(Training, dumped, "settings.json") == settings


def test_restoring_names_the_source() -> None:
    with pytest.raises(SettingsError, match=r"^settings\.json: unknown setting 'updatez'"):
        parse_settings(Training, {"updatez": 1}, "settings.json")
    with pytest.raises(SettingsError, match=r"^settings\.json: not JSON-like values"):
        parse_settings(Training, {"updates": object()}, "settings.json")


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("updates=1e99", "updates: must be at most 1,000,000, got whole number 1000"),
        ("limit=-1000001", "limit: must be at least -1,000,000, got whole number -1000001"),
        ("optimizer.learning_rate=1e99", "optimizer.learning_rate: must be at most 1,000,000, got"),
        ("optimizer.betas=[0.5, 1e7]", "optimizer.betas: must be at most 1,000,000, got list"),
        ("sizes=[1, 10000000]", "sizes: must be at most 1,000,000, got list"),
        ("weights={a: 1e7}", "weights: must be at most 1,000,000, got mapping"),
    ],
)
def test_a_number_without_a_bound_of_its_own_has_one(override: str, words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(Training, None, [override])
    assert words in str(caught.value)


# Properties

texts = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\ufeff\ufffe\uffff")
)
finite = st.floats(allow_nan=False, allow_infinity=False)
usual = st.floats(-MOST, MOST)
trainings = st.builds(
    Training,
    updates=st.integers(min_value=14, max_value=MOST),
    optimizer=st.builds(
        Optimizer, learning_rate=usual.filter(lambda x: x > 0), betas=st.tuples(usual, usual)
    ),
    adversary=st.sampled_from(["rules", "frozen", "trained"]),
    name=texts,
    resume=st.booleans(),
    limit=st.none() | st.integers(-MOST, MOST),
    weights=st.dictionaries(texts.filter(bool), usual, max_size=3),
    sizes=st.lists(st.integers(-MOST, MOST), max_size=3).map(tuple),
)


@given(trainings)
def test_any_settings_survive_a_dump_a_yaml_file_and_overrides(
    tmp_path_factory: pytest.TempPathFactory, settings: Training
) -> None:
    dumped = dump_settings(settings)
    assert parse_settings(Training, json.loads(json.dumps(dumped)), "dump") == settings
    file = tmp_path_factory.getbasetemp() / "property.yaml"
    file.write_text(yaml.safe_dump(dumped, allow_unicode=True), encoding="utf-8")
    assert load_settings(Training, file, []) == settings
    overrides = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in dumped.items()]
    assert load_settings(Training, None, overrides) == settings


@given(finite)
@example(1e18)  # written without a point; pydantic before 2.12 takes no such whole number for a number
def test_any_number_is_read_as_python_writes_it(number: float) -> None:
    class Single(Settings):
        value: float = Field(0.0, le=sys.float_info.max)

    read = load_settings(Single, None, [f"value={number!r}"]).value
    assert read == number
    assert math.copysign(1, read) == math.copysign(1, number) or number == 0


@given(st.text())
def test_any_override_is_read_or_refused_for_people(text: str) -> None:
    for override in (text, f"name={text}", f"{text}=1"):
        try:
            load_settings(Training, None, [override])
        except SettingsError as error:
            assert str(error)


@given(st.binary(max_size=200) | st.text("abup:dates-[]{},&*!|>'\"%@`# \n\t1.e", max_size=80).map(str.encode))
def test_any_file_is_read_or_refused_for_people(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "fuzz.yaml"
    file.write_bytes(content)
    try:
        load_settings(Training, file, [])
    except SettingsError as error:
        assert str(error).startswith((str(file), "2", "3", "4", "5", "6", "7", "8", "9", "1"))
