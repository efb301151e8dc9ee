"""What a model reads: the layout of a PRM, and the prompt that asks an adversary for a wrong version of a step.

Contract: fixed texts may hold special tokens, questions and steps may not (they are tokenised as ordinary characters).
Instruction-tuned backbones are addressed through their chat template; base ones get a cue, and learn from a warm start
on rule perturbations what it asks for.

A template is rendered alike at any time: the day that it asks for is a setting, and what it draws at random is drawn from
one seed. What was rendered belongs to a run's identity (`prompt_digest`).
"""

from __future__ import annotations

import datetime
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field
from typing import Any, Literal

from pydantic import Field, model_validator

from sparring.errors import CheckpointError, SettingsError, did_you_mean
from sparring.fingerprints import records_digest
from sparring.settings import Settings
from sparring.traces.spans import Layout, encode, trusted_ids, untrusted_ids

Style = Literal["plain", "chat"]

_DATE = "2024-07-26"

_QUESTION, _STEPS, _STEP = "\ue000", "\ue001", "\ue002"  # private-use characters: no template contains them

_ADVERSARY_REQUEST = f"""Problem:
{_QUESTION}

Solution so far:
{_STEPS}

Next step:
{_STEP}

Rewrite the next step so that it contains exactly one mistake that is hard to notice, such as a wrong result, a wrong \
number or a wrong operation. Keep its style and length. Answer with the rewritten step only, on one line."""


class PromptSettings(Settings):
    """How questions become prompts; every command that prompts a model has these."""

    style: Style = "plain"
    """`chat`: questions (and an adversary's requests) go through the tokenizer's chat template; `plain`: bare text."""
    template_kwargs: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the chat template, as in `{enable_thinking: false}`."""
    template_date: str = _DATE
    """The day that a chat template is told where it asks for today's: a run must not depend on when it is started."""

    @model_validator(mode="after")
    def _check_template(self) -> PromptSettings:
        if self.template_kwargs and self.style != "chat":
            raise ValueError("template_kwargs belong to style: chat")
        try:
            datetime.date.fromisoformat(self.template_date)
        except ValueError:
            raise ValueError(f"template_date: a day is written {_DATE}, got {self.template_date!r}") from None
        return self

    @property
    def template(self) -> Template:
        """What the chat template is told."""
        return Template(self.template_kwargs, self.template_date)


@dataclass(frozen=True, slots=True)
class Template:
    """What a chat template is told beside the turns."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    date: str = _DATE


def layout_for(
    tokenizer: Any,
    style: Style,
    separator: str = "\n",
    *,
    system: str | None = None,
    template: Template | None = None,
) -> Layout:
    """Return the layout of a PRM or a solver for this tokenizer; `system` is a chat's system message.

    Raises:
        CheckpointError: the style is `chat`, and the tokenizer has no chat template or one that cannot be used.
        SettingsError: the template does not use an argument that it is given.
    """
    if style == "plain":
        return Layout(before=tokenizer.bos_token or "", after="\n", separator=separator)
    before, after = _split(_request(tokenizer, _QUESTION, system, template), _QUESTION)
    return Layout(before=before, after=after, separator=separator)


def prompt_digest(*prompts: Layout | Sequence[str] | None) -> str:
    """Return a name for the texts that prompts are made of, for a run's identity."""
    return records_digest(
        None if one is None else list(astuple(one) if isinstance(one, Layout) else one) for one in prompts
    )


class AdversaryPrompt:
    """Turns a state into the ids after which the adversary writes its version of the step.

    Args:
        tokenizer: the backbone's.
        style: `plain` (solution so far, the step, a cue) or `chat` (a request in a user's turn).
        cue: the text that asks for a mistake in `plain` style.
        template: what a chat template is told beside the turns.
    """

    def __init__(self, tokenizer: Any, style: Style, cue: str, template: Template | None = None) -> None:
        self.tokenizer = tokenizer
        self._layout = layout_for(tokenizer, "plain")
        self._cue = [*untrusted_ids(tokenizer, cue), *trusted_ids(tokenizer, "\n")]
        self._pieces: tuple[str, ...] | None = None
        if style == "chat":
            rest = _request(tokenizer, _ADVERSARY_REQUEST, None, template)
            pieces = []
            for mark in (_QUESTION, _STEPS, _STEP):
                piece, rest = _split(rest, mark)
                pieces.append(piece)
            self._pieces = (*pieces, rest)
        self.texts: Sequence[str] = self._pieces or (*astuple(self._layout), cue)

    def ids(self, question: str, prefix: Sequence[str], step: str) -> list[int]:
        """Return the prompt's token ids."""
        if self._pieces is None:
            encoded = encode(question, [*prefix, step], self.tokenizer, self._layout)
            return [*encoded.input_ids, *self._cue]
        ids: list[int] = []
        texts = (question, "\n".join(prefix) or "(nothing yet)", step)
        for piece, text in zip(self._pieces, texts, strict=False):
            ids += trusted_ids(self.tokenizer, piece) + untrusted_ids(self.tokenizer, text)
        return ids + trusted_ids(self.tokenizer, self._pieces[-1])


def render_chat(
    tokenizer: Any,
    turns: Sequence[Mapping[str, str]],
    template: Template | None = None,
    *,
    generation_prompt: bool = False,
) -> str:
    """Return a chat's text by the tokenizer's template: the same text whenever it is called.

    Raises:
        CheckpointError: there is no template, or it refuses these turns.
        SettingsError: it does not use an argument that it is given.
    """
    if not getattr(tokenizer, "chat_template", None):
        raise CheckpointError("the tokenizer has no chat template; use style 'plain'")
    template = template or Template()
    names = set(re.findall(r"[A-Za-z_]\w*", tokenizer.get_chat_template()))
    for name in template.arguments:
        if name not in names:
            raise SettingsError(
                f"template_kwargs: the chat template does not use '{name}'" + did_you_mean(name, names)
            )
    from jinja2 import TemplateError

    try:
        with _stopped_clock(datetime.datetime.fromisoformat(template.date)):
            text: str = tokenizer.apply_chat_template(
                list(turns), tokenize=False, add_generation_prompt=generation_prompt, **template.arguments
            )
    except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(f"the chat template cannot be used: {error}") from error
    return text


@contextmanager
def _stopped_clock(day: datetime.datetime) -> Iterator[None]:
    """Let templates see this day as today, and draw the same random numbers.

    transformers takes no function as an argument of a template, so its own `strftime_now` is told the day.
    """

    from transformers.utils import chat_template_utils

    class Day(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Day:
            return cls(day.year, day.month, day.day, tzinfo=tz)

    drawing, clock = random.getstate(), vars(chat_template_utils)["datetime"]
    random.seed(0)
    vars(chat_template_utils)["datetime"] = Day
    try:
        yield
    finally:
        vars(chat_template_utils)["datetime"] = clock
        random.setstate(drawing)


def _request(tokenizer: Any, content: str, system: str | None, template: Template | None) -> str:
    turns = [] if system is None else [{"role": "system", "content": system}]
    turns.append({"role": "user", "content": content})
    return render_chat(tokenizer, turns, template, generation_prompt=True)


def _split(text: str, mark: str) -> tuple[str, str]:
    before, found, after = text.partition(mark)
    if not found or mark in after:
        raise CheckpointError(
            "the chat template does not repeat the user's message just once, so it cannot be used here"
        )
    return before, after
