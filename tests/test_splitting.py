"""Splitting free text into steps: nothing lost, blocks whole, linear in size; and finding boxed answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparring.errors import SettingsError
from sparring.traces.boxed import boxes, last_boxed
from sparring.traces.splitting import Strategy, split_steps

STRATEGIES: tuple[Strategy, ...] = ("paragraphs", "lines", "headings", "auto")
PIECES = [
    *[
        "\n",
        "\n\n",
        " \n\t\n",
        "\r\n",
        " ",
        "    ",
        "x = 2",
        "The answer is 3.",
        "Step 1: add",
        "## Step 2",
        "**Step 3.**",
    ],
    *[
        "```",
        "```python",
        "~~~",
        r"\[",
        r"\]",
        r"\\[2pt]",
        "$$",
        r"\begin{align}",
        r"\end{align}",
        r"\begin{cases}",
    ],
    *[
        r"\end{cases}",
        "[asy]",
        "[/asy]",
        r"\boxed{",
        r"\boxed{7}",
        "{",
        "}",
        r"\}",
        "- item",
        "* item",
        "1. first",
        "\u2028",
    ],
]
model_texts = st.lists(st.sampled_from(PIECES), max_size=40).map("".join) | st.text(max_size=80)


def squeezed(text: str) -> str:
    return "".join(text.split())


@given(model_texts, st.sampled_from(STRATEGIES))
def test_nothing_is_lost_order_is_kept_no_step_is_empty(text: str, strategy: Strategy) -> None:
    steps = split_steps(text, strategy)
    assert squeezed("".join(steps)) == squeezed(text)
    position = 0
    for step in steps:
        assert step.strip() == step != ""
        position = text.index(step, position) + len(step)


@given(st.lists(st.from_regex(r"[a-z][a-z =+0-9.]{0,20}[a-z.]", fullmatch=True), min_size=1, max_size=8))
def test_plain_paragraphs_and_lines_are_found_again(steps: list[str]) -> None:
    assert split_steps("\n\n".join(steps), "paragraphs") == tuple(steps)
    assert split_steps(" \n".join(steps), "lines") == tuple(steps)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join))
def test_a_closed_fence_is_never_cut(inside: str) -> None:
    inside = inside.replace("```", "").replace("~~~", "")
    block = f"```\nx{inside}\ny\n```"
    for strategy in STRATEGIES:
        steps = split_steps(f"before\n\n{block}\n\nafter", strategy)
        assert any(block in step for step in steps)


BLOCKS = [
    "\\[\na\n\nb\n\\]",
    "$$\na\nb\n$$",
    "\\begin{align}\na\n\n\\begin{cases}\nb\n\\end{cases}\n\nc\n\\end{align}",
    "\\begin{align*}\n\\begin{array}\na\n\n\\end{align*}",
    "[asy]\ndraw();\n\ndraw();\n[/asy]",
    "```python\nx = 1\n\n\\[\n```",
    "~~~\nx\n\ny\n~~~",
    "\\boxed{\\begin{pmatrix} 1 \\\\\n\n2 \\end{pmatrix}}",
    "- one\n- two\n  more of two\n- three",
]


@pytest.mark.parametrize("block", BLOCKS)
@pytest.mark.parametrize("strategy", ["paragraphs", "lines"])
def test_blocks_are_kept_whole(block: str, strategy: Strategy) -> None:
    assert split_steps(f"before\n\n{block}\n\nafter\n\nend", strategy) == ("before", block, "after", "end")


def test_a_loose_bulleted_list_is_kept_whole_and_numbered_items_are_steps() -> None:
    bullets = "- one\n\n- two\n\n  more of two"
    assert split_steps(f"We have:\n\n{bullets}\n\nSo", "paragraphs") == ("We have:", bullets, "So")
    assert split_steps("1. one\n\n2. two", "paragraphs") == ("1. one", "2. two")
    assert split_steps("1. one\n2. two", "lines") == ("1. one", "2. two")


@pytest.mark.parametrize("opener", ["```", "\\[", "$$", "\\begin{align}", "[asy]", "\\boxed{"])
def test_a_block_that_is_never_closed_protects_nothing(opener: str) -> None:
    assert split_steps(f"a\n\n{opener}\n\nb\n\nc", "paragraphs") == ("a", opener, "b", "c")


def test_a_stray_double_dollar_ends_with_its_paragraph() -> None:
    assert split_steps("costs $$5\n\nb\n\n$$ x $$\n\nc", "paragraphs") == ("costs $$5", "b", "$$ x $$", "c")


def test_a_latex_line_break_opens_no_display() -> None:
    assert split_steps("a \\\\[2pt] b\n\nc\n\n\\]", "paragraphs") == ("a \\\\[2pt] b", "c", "\\]")


def test_auto_cuts_at_headings() -> None:
    text = "Let me see.\n\n## Step 1: Add\n\n1 + 1 = 2\n\n**Step 2:** Double\n2 * 2 = 4\n\nSo \\boxed{4}."
    assert split_steps(text) == (
        "Let me see.",
        "## Step 1: Add\n\n1 + 1 = 2",
        "**Step 2:** Double\n2 * 2 = 4\n\nSo \\boxed{4}.",
    )


@pytest.mark.parametrize(
    "heading", ["Step 1: a", "step 1. a", "STEP 1", "### Step 1 ", "**Step 1**", "**Step 1:** a", "Step 1) a"]
)
def test_headings(heading: str) -> None:
    assert split_steps(f"x\n{heading}\ny\nStep 2:\nz") == ("x", f"{heading}\ny".strip(), "Step 2:\nz")


@pytest.mark.parametrize("line", ["Step 2 gives x", "In Step 2: y", "Steps 2: y", "Step two: y"])
def test_sentences_about_steps_are_no_headings(line: str) -> None:
    assert split_steps(f"Step 1: x\n{line}\nStep 3: z") == (f"Step 1: x\n{line}", "Step 3: z")


def test_auto_takes_paragraphs_then_lines() -> None:
    assert split_steps("a\nb\n\nc") == ("a\nb", "c")
    assert split_steps("a\nb\nc") == ("a", "b", "c")
    assert split_steps("\n\na\nb\n\n") == ("a", "b")
    assert split_steps("Step 1: a\n\nb") == ("Step 1: a", "b")


@pytest.mark.parametrize("text", ["", " \n\t\r\n \u3000"])
def test_blank_text_has_no_steps(text: str) -> None:
    assert all(split_steps(text, strategy) == () for strategy in STRATEGIES)


def test_a_final_boxed_answer_is_kept() -> None:
    assert split_steps("a\n\n\\boxed{7}", "paragraphs")[-1] == "\\boxed{7}"


def test_an_unknown_strategy_is_refused() -> None:
    with pytest.raises(SettingsError, match="did you mean 'paragraphs'"):
        split_steps("a", "paragraph")  # type: ignore[arg-type]


HUGE = [
    *[
        "```\n",
        "```a\n~~~\n",
        "\\[",
        "\\]",
        "$$",
        "$$\n\n",
        "\\begin{a}",
        "\\end{a}",
        "[asy]",
        "\\boxed{",
        "\\boxed \t",
    ],
    *["\\begin{a}\\begin{b}\\end{a}", "{", "}", "\\", " ", "\n", "\r", " \n", "- ", "- a\n", "#", "*"],
    *["Step 1", "Step 1\n\n"],
]


@pytest.mark.parametrize("piece", HUGE)
def test_huge_repetitive_text_is_split_completely(piece: str) -> None:
    # There is no clock in the test: anything quadratic would need some 10^10 steps and hang.
    text = piece * (300_000 // len(piece))
    for strategy in STRATEGIES:
        assert sum(len(squeezed(step)) for step in split_steps(text, strategy)) == len(squeezed(text))


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{6}", "6"),
        (r"so \boxed{\frac{1}{2}} and", r"\frac{1}{2}"),
        (r"\boxed{1} or \boxed{ 2 }", "2"),
        (r"\boxed{\boxed{3} x}", r"\boxed{3} x"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"{\fbox{4}}}", "4"),
        (r"\boxed {5}", "5"),
        (r"\\boxed{5}", "5"),
        (r"\boxed{1} then \boxed{2", "1"),
        (r"\boxed{}", None),
        (r"\boxed 5", "5"),
        (r"\boxed -12.", "-12"),
        (r"\boxed \frac{1}{2}", r"\frac{1}{2}"),
        ("boxed{5}", None),
        ("", None),
    ],
)
def test_last_boxed(text: str, answer: str | None) -> None:
    assert last_boxed(text) == answer


@given(model_texts)
def test_boxes_are_slices_in_order_that_do_not_overlap(text: str) -> None:
    end = 0
    for box in boxes(text):
        assert end <= box.start < box.end
        assert text[box.start : box.end].endswith(box.content + "}")
        end = box.end
