"""Settings: from a YAML file and ``key=value`` overrides to one frozen, checked record.

Contract: a command's settings are a subclass of `Settings`; the docstring under each field is its help.
Nothing is guessed: an unknown key, an ill-typed value or a value out of range is refused, and all of them are
listed in one `SettingsError` that names the file and line (or the override), the expected type and the given
value. A file that is not a mapping in YAML, or that gives a key twice, is refused at once.

Plain scalars follow YAML 1.2, since the older rules surprise: only ``true`` and ``false`` are booleans
(``no`` and ``off`` are texts), ``1e-4`` is a number, ``1e3`` a whole number, ``010`` and ``1:30`` are texts.
Tags, anchors and aliases are refused.

Not here: environment variables, several files laid over each other, the commands that take these settings.
"""

from __future__ import annotations

import json
import math
import re
import sys
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from sparring.errors import SettingsError, did_you_mean, said_by_pydantic
from sparring.json_files import DEEPEST, too_many_digits

Where = tuple[str | int, ...]
"""The setting names and list positions that lead to a value, outermost first."""

MOST = 1_000_000
"""Largest number of a setting that states no upper bound: so many epochs, samples or seconds no machine gets through, and
no library's clock takes more (a socket waits 24 days at most)."""
MANY = 10**9
"""The same for settings that count data, tokens or bytes, or say how seldom something is done."""
LARGEST_SEED = 2**63 - 1


class Settings(BaseModel):
    """Base of every command's settings: frozen, no extra fields, no silent conversion except int to float.

    Field docstrings become the help. Checks across fields are pydantic validators that raise ``ValueError``.
    Made directly in Python, bad values raise pydantic's ``ValidationError``; through `load_settings` and
    `parse_settings` they raise `SettingsError`.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @field_validator("*")
    @classmethod
    def _no_number_without_bound(cls, value: Any, info: ValidationInfo) -> Any:
        bounds = cls.model_fields[info.field_name].metadata if info.field_name else ()
        if not any(hasattr(bound, "le") or hasattr(bound, "lt") for bound in bounds):
            members = value.values() if isinstance(value, dict) else value
            for number in members if isinstance(value, (list, tuple, dict)) else (value,):
                if isinstance(number, (int, float)) and abs(number) > MOST:
                    raise ValueError(
                        f"must be {f'at most {MOST:,}' if number > 0 else f'at least -{MOST:,}'}"
                    )
        return value

    @model_validator(mode="after")
    def _paths_without_control_characters(self) -> Self:
        for name, value in self:
            for path in value if isinstance(value, (list, tuple)) else (value,):
                if isinstance(path, Path) and any(ord(character) < 32 for character in str(path)):
                    raise ValueError(f"{name}: {str(path)!r} holds a control character, so it is no path")
        return self


class Shared(Settings):
    """Base of groups of settings that several commands have; help lists them after a command's own."""


S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class SettingRow:
    """One line of help: dotted name, type in words, default in JSON or ``required``, meaning."""

    name: str
    type: str
    default: str
    help: str


def load_settings(cls: type[S], config: Path | None, overrides: Sequence[str] = ()) -> S:
    """Return the settings of `config` (a YAML file; ``None``: the defaults) overlaid by `overrides`.

    An override is ``key=value``: the key may be dotted to reach into a group, the value is YAML and replaces
    what was there in the file.

    Raises:
        SettingsError: the file cannot be read, or keys or values cannot be used; all of these are listed. Or two
            overrides give the same setting.
    """
    given = _Given({}, "settings") if config is None else _read_file(config)
    before: dict[tuple[str, ...], str] = {}
    for override in overrides:
        _overlay(given, override, before)
    return _validated(cls, given)


def parse_settings(cls: type[S], values: Mapping[str, Any], source: str) -> S:
    """Return settings from JSON-like `values`, for instance a dump; errors name them by `source`.

    Raises:
        SettingsError: as in `load_settings`.
    """
    return _validated(cls, _Given(dict(values), source))


def dump_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as JSON-safe values; `parse_settings` reads them back to an equal record."""
    return settings.model_dump(mode="json")


def setting_rows(
    cls: type[BaseModel], prefix: str = "", defaults: BaseModel | None = None
) -> list[SettingRow]:
    """Return one row per setting in order; after a group's own row come its settings under dotted names.

    `prefix` is put before every name; `defaults` takes the place of the defaults written in `cls`. A field that is
    declared again without a text keeps that of the base class.
    """
    rows = []
    parents = [base for base in cls.__mro__ if issubclass(base, BaseModel)]
    shared = {name for base in parents if Shared in base.__bases__ for name in base.model_fields}
    for name, info in sorted(cls.model_fields.items(), key=lambda item: item[0] in shared):
        texts = (base.model_fields[name].description for base in parents if name in base.model_fields)
        text = next(filter(None, texts), "")
        required = info.is_required() and defaults is None
        default = getattr(defaults, name) if defaults is not None else _default(info)
        is_group = _is_model(info.annotation)
        type_words = "group" if is_group else type_name(info.annotation)
        default_words = "required" if required else "" if is_group else _as_json(cls, name, default)
        rows.append(SettingRow(prefix + name, type_words, default_words, " ".join(text.split())))
        if is_group:
            rows += setting_rows(info.annotation, f"{prefix}{name}.", default)  # type: ignore[arg-type]
    return rows


def describe(cls: type[BaseModel]) -> str:
    """Return the help text of all settings: one ``name: type = default`` line each, its meaning below it."""
    lines = []
    for row in setting_rows(cls):
        default = {"required": " (required)", "": ""}.get(row.default, f" = {row.default}")
        lines.append(f"{row.name}: {row.type}{default}")
        if row.help:
            lines.append(f"    {row.help}")
    return "\n".join(lines)


def type_name(annotation: Any) -> str:
    """Return the type in words that need no Python: ``whole number``, ``list of (text)``, ``'a' or 'b'``."""
    simple = {int: "whole number", float: "number", bool: "true or false", str: "text", Path: "path"}
    if annotation in simple:
        return simple[annotation]
    if annotation in (None, type(None)):
        return "null"
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return " or ".join(
            f"'{choice}'" if isinstance(choice, str) else json.dumps(choice) for choice in arguments
        )
    if origin in (Union, types.UnionType):
        return " or ".join(type_name(member) for member in arguments)
    if origin is tuple and Ellipsis not in arguments:
        return f"list of exactly {len(arguments)} ({', '.join(map(type_name, arguments))})"
    if origin in _LISTS:
        return f"list of ({type_name(arguments[0])})"
    if origin in (dict, Mapping):
        return f"mapping of names to ({type_name(arguments[1])})"
    if _is_model(annotation):
        return f"mapping with {', '.join(annotation.model_fields)}"
    return str(getattr(annotation, "__name__", annotation))


_LISTS = (list, tuple, set, frozenset, Sequence)


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _default(info: FieldInfo) -> Any:
    """Return the default written in the class, ``None`` for a required field."""
    return None if info.is_required() else info.get_default(call_default_factory=True, validated_data={})


def _as_json(cls: type[BaseModel], name: str, value: Any) -> str:
    """Return one field's value as it would be written in a settings file."""
    return json.dumps(cls.model_construct(**{name: value}).model_dump(mode="json")[name], ensure_ascii=False)


@dataclass
class _Given:
    """Values as the user gave them, and for each path the file and line, or the override, that gave it."""

    values: dict[str, Any]
    source: str
    places: dict[Where, str] = field(default_factory=dict)

    def place(self, path: Where) -> str:
        """Return the place of the value at `path`, or of the nearest group around it."""
        known = (path[:length] for length in range(len(path), 0, -1) if path[:length] in self.places)
        return self.places.get(next(known, ()), self.source)


class _Loader(yaml.BaseLoader):
    """PyYAML's least loader (only texts), without aliases: a chain of them can grow without bound.

    Brackets are bounded in depth: at every word the scanner goes through all that are open.
    """

    def fetch_flow_collection_start(self, token: Any) -> None:
        if self.flow_level >= DEEPEST:
            problem = f"more than {DEEPEST} levels of brackets"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.get_mark())
        super().fetch_flow_collection_start(token)

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise _refusal("anchors and aliases are not supported", self.peek_event())  # type: ignore[no-untyped-call]
        return super().compose_node(parent, index)


_PLAIN: dict[str, float | None] = dict.fromkeys(("", "~", "null", "Null", "NULL"))
_PLAIN |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_PLAIN |= {".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf, ".nan": math.nan}
_WHOLE = re.compile(r"([-+]?(?:0|[1-9][0-9]*(?:_[0-9]+)*))(?:[eE]\+?([0-9]{1,2}))?")
_NUMBER = re.compile(r"(?![-+]?0[0-9]+$)[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def _refusal(problem: str, at: Any) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=at.start_mark)


def _plain(text: str) -> Any:
    """Return what an unquoted scalar means: null, boolean, whole number, number, or else the text itself.

    Raises:
        ValueError: the whole number has thousands of digits.
    """
    if text in _PLAIN:
        return _PLAIN[text]
    if whole := _WHOLE.fullmatch(text):
        return int(whole[1]) * 10 ** int(whole[2] or 0)
    return float(text) if _NUMBER.fullmatch(text) else text


def _value(node: yaml.Node, path: Where, lines: dict[Where, int]) -> Any:
    """Return a node as plain Python values; `lines` receives the line (from 1) of every path below it."""
    lines.setdefault(path, node.start_mark.line + 1)
    if node.tag not in ("tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"):
        raise _refusal(f"the tag {node.tag} is not supported", node)
    if isinstance(node, yaml.ScalarNode):
        try:
            return _plain(node.value) if node.style is None else node.value
        except ValueError:
            raise _refusal(too_many_digits(), node) from None
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), lines) for index, item in enumerate(node.value)]
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode) or not key_node.value:
            raise _refusal("a key must be a name", key_node)
        key = key_node.value
        if key in values:
            raise _refusal(f"'{key}' is given twice (first in line {lines[(*path, key)]})", key_node)
        lines[(*path, key)] = key_node.start_mark.line + 1
        values[key] = _value(value_node, (*path, key), lines)
    return values


def _parse_yaml(text: str, source: str) -> tuple[Any, dict[Where, int], int]:
    """Return the value of the one YAML document in `text`, the line of each path, and where it ends."""
    lines: dict[Where, int] = {}
    try:
        node = _Loader(text).get_single_node()
        if node is None:
            return None, lines, 0
        value = _value(node, (), lines)
        json.dumps(value, ensure_ascii=False).encode()  # an escape may have made half of a surrogate pair
        return value, lines, node.end_mark.index
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark is not None and "\n" in text else source
        raise SettingsError(f"{place}: not usable as YAML: {error.problem}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SettingsError(f"{source}: not usable as YAML: {' '.join(str(error).split())}") from None


def _read_file(config: Path) -> _Given:
    """Return the mapping in a YAML file (an empty file is an empty mapping) with a place for every path."""
    try:
        text = config.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise SettingsError(f"{config}: the settings file is not UTF-8 text ({error.reason})") from None
    except OSError as error:
        raise SettingsError(f"{config}: cannot read the settings file: {error.strerror}") from None
    values, lines, _ = _parse_yaml(text, str(config))
    if values is not None and not isinstance(values, dict):
        raise SettingsError(f"{config}: expected lines of 'key: value', got {_shown(values)}")
    return _Given(
        values or {}, str(config), {path: f"{config}:{line}" for path, line in lines.items() if path}
    )


def _overlay(given: _Given, override: str, before: dict[tuple[str, ...], str]) -> None:
    """Write one ``key=value`` override into `given`; refuse it if malformed or if its group is not one.

    `before` holds the settings that earlier overrides gave, and receives those of this one: none is given twice.
    """
    place = f"override {override if len(override) <= 80 else override[:77] + '...'!r}"
    key, equals, text = override.partition("=")
    path = tuple(part.strip() for part in key.split("."))
    if not equals or not all(path):
        raise SettingsError(f"{place}: expected key=value, for instance seed=3 or group.seed=3")
    value, _, end = _parse_yaml(text, place)
    if rest := text[end:].strip():
        raise SettingsError(f"{place}: {rest!r} would be lost as a comment; put the value in quotes")
    for leaf in _leaves(path, value):
        for other, first in before.items():
            if leaf == other[: len(leaf)] or other == leaf[: len(other)]:
                name = ".".join(leaf if len(leaf) > len(other) else other)
                raise SettingsError(f"{place}: '{name}' is given twice, before by {first!r}")
    before.update(dict.fromkeys(_leaves(path, value), override))
    group = given.values
    for depth, part in enumerate(path[:-1], start=1):
        if part not in group:
            group[part], given.places[path[:depth]] = {}, place
        inner = group[part]
        if not isinstance(inner, dict):
            above = f"'{'.'.join(path[:depth])}' is {_shown(inner)} ({given.place(path[:depth])})"
            raise SettingsError(f"{place}: {above}, not a group")
        group = inner
    group[path[-1]] = value
    given.places = {known: at for known, at in given.places.items() if known[: len(path)] != path}
    given.places[path] = place


def _leaves(path: tuple[str, ...], value: Any) -> list[tuple[str, ...]]:
    """Return the names of the settings that an override gives: its own, or those within the group that it writes."""
    if not isinstance(value, dict) or not value:
        return [path]
    return [leaf for name, inner in value.items() for leaf in _leaves((*path, name), inner)]


def _validated(cls: type[S], given: _Given) -> S:
    """Return the checked settings, or raise one SettingsError with a line for every bad setting."""
    try:
        document = json.dumps(_completed(cls, None, given.values), ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        near = ascii(error.object[max(0, error.start - 20) : error.end])
        encoding = sys.getfilesystemencoding()
        raise SettingsError(
            f"{given.source}: no valid Unicode near {near}: a path whose bytes are no {encoding}? Set PYTHONUTF8=1 "
            "or use a UTF-8 locale; or rename the file"
        ) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise SettingsError(f"{given.source}: not JSON-like values: {error}") from None
    problems: dict[Where, str] = {}
    try:
        # Strict mode for JSON, unlike that for Python objects, lets a list fill a tuple and a text a path.
        return cls.model_validate_json(document)
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            path = _path_in(given.values, detail["loc"], missing=detail["type"] == "missing")
            # A union reports each of its members; one line per setting is enough.
            problems.setdefault(path, f"{given.place(path)}: {_problem(cls, path, detail, given.values)}")
    listed = "\n".join(f"  {problem}" for problem in problems.values())
    raise SettingsError(listed.strip() if len(problems) == 1 else f"{len(problems)} bad settings:\n{listed}")


def _completed(cls: type[BaseModel], default: BaseModel | None, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` over `default`, group by group.

    Without this, giving ``group.a`` alone would reset ``group.b`` from the default that `cls` states for the
    whole group to the default of the group's own class.
    """
    completed: dict[str, Any] = {} if default is None else default.model_dump(mode="json")
    completed.update(values)
    for name, info in cls.model_fields.items():
        if isinstance(values.get(name), dict):
            inner = _default(info) if default is None else getattr(default, name)
            members = (info.annotation, *get_args(info.annotation))
            if isinstance(inner, BaseModel) and type(inner) in members:
                completed[name] = _completed(type(inner), inner, values[name])
    return completed


def _path_in(values: Mapping[str, Any], location: Where, *, missing: bool) -> Where:
    """Return the part of pydantic's location that leads into `values`; it also names union members."""
    path: Where = ()
    current: Any = values
    for part in location:
        in_list = isinstance(current, list) and isinstance(part, int) and part < len(current)
        if in_list or (isinstance(current, dict) and part in current):
            current, path = current[part], (*path, part)
    return (*path, location[-1]) if missing and isinstance(location[-1], str) else path


def _problem(cls: type[BaseModel], path: Where, detail: Mapping[str, Any], values: Mapping[str, Any]) -> str:
    """Return in words what is wrong with the setting at `path`."""
    name = ".".join(map(str, path))
    message = said_by_pydantic(detail)
    if not path:
        return message
    if detail["type"] == "extra_forbidden":
        return f"unknown setting '{name}'{did_you_mean(str(path[-1]), _names(_type_at(cls, path[:-1])))}"
    expected = _type_at(cls, path)
    value: Any = values
    for part in path:
        if isinstance(value, dict) and part not in value:
            return f"the setting '{name}' is required: {type_name(expected)}"
        value = value[part]
    if detail["type"].endswith("_type") or detail["type"] in ("literal_error", "missing", "too_long"):
        return f"{name}: expected {type_name(expected)}, got {_shown(value)}{_hint(expected, value)}"
    return f"{name}: {message}, got {_shown(value)}"


def _type_at(annotation: Any, path: Where) -> Any:
    """Return the annotation that `path` leads to from `annotation`, ``Any`` where it leads nowhere."""
    if not path:
        return annotation
    if _is_model(annotation):
        info = annotation.model_fields.get(path[0])
        return Any if info is None else _type_at(info.annotation, path[1:])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in (dict, Mapping):
        return _type_at(arguments[1], path[1:])
    if origin in _LISTS:
        is_fixed = origin is tuple and Ellipsis not in arguments
        return _type_at(arguments[int(path[0]) if is_fixed else 0], path[1:])
    found = (_type_at(member, path) for member in arguments)
    return next((inner for inner in found if inner is not Any), Any)


def _names(annotation: Any) -> set[str]:
    """Return the setting names of all models in an annotation."""
    if _is_model(annotation):
        return set(annotation.model_fields)
    return {name for member in get_args(annotation) for name in _names(member)}


def _hint(annotation: Any, value: Any) -> str:
    """Return advice for two common slips: a misspelt choice, and a text that YAML reads as something else."""
    if isinstance(value, str) and get_origin(annotation) is Literal:
        near = did_you_mean(value, [choice for choice in get_args(annotation) if isinstance(choice, str)])
        return near if "did you mean" in near else ""
    return " (put it in quotes)" if annotation in (str, Path) and not isinstance(value, (dict, list)) else ""


def _shown(value: Any) -> str:
    """Return a given value with its kind, shortened."""
    text = repr(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return _KINDS.get(type(value), "") + (text if len(text) <= 60 else f"{text[:57]}...")


_KINDS = {str: "text ", dict: "mapping ", list: "list ", int: "whole number ", float: "number "}
