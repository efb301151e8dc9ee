"""`POST /pooling` with `task: "token_classify"`: the interface of vLLM, for clients that were written for PRMs on vLLM.

    {"model": "prm", "task": "token_classify", "input": [[151644, 8948, …], …]}
    {"id": "pool-…", "object": "list", "created": …, "model": "prm",
     "data": [{"index": 0, "object": "pooling", "data": [[0.02, 0.98], …]}], "usage": {…}}

As there, an item's `data` holds one vector per token for a classification head, and one per step for label tokens: vLLM's
STEP pooling, at every token that is the last one of the sidecar's separator, with the two label tokens in the sidecar's
order. Vectors are probabilities (softmax; sigmoid of a single logit), or the logits with `use_activation: false`; the
sidecar's calibration is not applied, since vLLM does not know it. Checked against vLLM's sources of November 2026:
`entrypoints/pooling` and `layers/pooler/tokwise`.

Ignored, as they change no number: `user`, `priority`, `request_id`, `cache_salt`, and unknown fields, which vLLM
ignores too. Refused: what vLLM has removed (`normalize`, `softmax`, `activation`), other tasks, `messages`,
`dimensions`, padding, and truncation, since a step that is cut away has no score.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
import sys
import time
from typing import Annotated, Any, Literal

import torch
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from sparring.errors import plural
from sparring.serving.errors import RESPONSES, ApiError, or_say, refuse_more
from sparring.serving.models import TOKENS, Models, Prm
from sparring.serving.settings import ServeSettings
from sparring.serving.waiting import account_of, computed

_REMOVED = ("normalize", "softmax", "activation")


class PoolingRequest(BaseModel):
    """What vLLM's clients send."""

    model_config = ConfigDict(extra="allow", use_attribute_docstrings=True)

    model: str | None = None
    task: Literal["token_classify"] | None = None
    """What vLLM calls the scores of tokens."""
    input: Annotated[
        str | list[str] | list[Annotated[int, Field(ge=0)]] | list[list[Annotated[int, Field(ge=0)]]],
        or_say("a text, texts, token ids (whole numbers from 0) or lists of token ids are expected"),
    ]
    """A text, texts, token ids, or lists of token ids: a prompt each, laid out as the PRM reads it."""
    add_special_tokens: bool = True
    """Whether the tokenizer adds its own to a text."""
    use_activation: bool | None = None
    """Probabilities, or, if false, logits."""
    encoding_format: Literal["float", "base64"] = "float"
    """base64: the numbers row after row as little-endian float32."""
    embed_dtype: Literal["float32"] = "float32"
    endianness: Literal["native", "little"] = "native"
    padding: Literal["do_not_pad"] | None = None
    truncate_prompt_tokens: None = None
    dimensions: None = None
    messages: None = None


class PoolingItem(BaseModel):
    """Vectors of one prompt."""

    index: int
    object: Literal["pooling"] = "pooling"
    data: list[list[float]] | str


class PoolingUsage(BaseModel):
    """What a request cost."""

    prompt_tokens: int
    total_tokens: int
    completion_tokens: int = 0


class PoolingAnswer(BaseModel):
    """Vectors of all prompts, in the request's order."""

    id: str
    object: Literal["list"] = "list"
    created: int
    model: str
    data: list[PoolingItem]
    usage: PoolingUsage


def pooling_router(models: Models, settings: ServeSettings) -> APIRouter:
    """Return the endpoint."""
    router = APIRouter(tags=["scores"])

    @router.post(
        "/pooling", response_model=PoolingAnswer, responses=RESPONSES, summary="vLLM's token_classify."
    )
    async def pooling(request: Request, body: PoolingRequest) -> JSONResponse:
        for name in _REMOVED:
            if name in (body.model_extra or {}):
                raise ApiError(422, f"{name} was removed; use use_activation", field=name)
        prm = models.prm(body.model)
        if TOKENS not in prm.batcher.compute:
            raise ApiError(
                422,
                f"a PRM with the head {prm.scorer.sidecar.head} has no vectors of tokens: use /v1/score",
                field="model",
            )
        account = account_of(request)
        account.model = prm.name
        rows = await asyncio.to_thread(_ids, body, prm, settings)
        tokens = [len(row) for row in rows]
        account.items, account.tokens = len(rows), sum(tokens)
        logits = await computed(request, prm.batcher, TOKENS, rows, tokens, settings.request_seconds)
        data = await asyncio.to_thread(
            lambda: [_encoded(_pooled(row, ids, prm), body) for row, ids in zip(logits, rows, strict=True)]
        )
        return JSONResponse(
            {
                "id": f"pool-{secrets.token_hex(16)}",
                "object": "list",
                "created": int(time.time()),
                "model": prm.name,
                "data": [
                    {"index": index, "object": "pooling", "data": one} for index, one in enumerate(data)
                ],
                "usage": {"prompt_tokens": sum(tokens), "total_tokens": sum(tokens), "completion_tokens": 0},
            }
        )

    return router


def _ids(body: PoolingRequest, prm: Prm, settings: ServeSettings) -> list[list[int]]:
    """Return the token ids of every prompt.

    Raises:
        ApiError: there is none, too many or too long ones, or ids that the model does not have.
    """
    given: Any = body.input
    one = isinstance(given, str) or (bool(given) and isinstance(given[0], int))
    prompts: list[Any] = [given] if one else given
    if not prompts:
        raise ApiError(422, "there is no input", field="input")
    refuse_more(len(prompts), settings.max_items, "inputs (max_items)", "input")
    rows: list[list[int]] = []
    total = 0
    for index, prompt in enumerate(prompts):
        field = "input" if one else f"input[{index}]"
        ids: list[int] = (
            prm.ids_of(prompt, special=body.add_special_tokens, field=field)
            if isinstance(prompt, str)
            else prompt
        )
        most = prm.scorer.sidecar.max_length
        if not ids:
            raise ApiError(422, "the prompt has no token", field=field)
        if len(ids) > most:
            raise ApiError(
                422, f"the prompt has {plural(len(ids), 'token')}, past the limit of {most}", field=field
            )
        if max(ids) >= prm.vocabulary:
            raise ApiError(
                422, f"{max(ids)} is no token id of this model, which has {prm.vocabulary}", field=field
            )
        total += len(ids)
        refuse_more(total, settings.max_request_tokens, "tokens (max_request_tokens)", field)
        rows.append(ids)
    return rows


def _pooled(logits: torch.Tensor, ids: list[int], prm: Prm) -> torch.Tensor:
    """Return the vectors that vLLM's pooler keeps: all, or those at step tags."""
    if prm.step_tag is None:
        return logits
    return logits[torch.tensor(ids) == prm.step_tag]


def _encoded(vectors: torch.Tensor, body: PoolingRequest) -> list[list[float]] | str:
    if not torch.isfinite(vectors).all():
        raise ApiError(
            500, "the PRM computed numbers that are not finite", type="scores_not_numbers", field="input"
        )
    if body.use_activation is not False:
        vectors = torch.sigmoid(vectors) if vectors.shape[-1] < 2 else torch.softmax(vectors, dim=-1)
    if body.encoding_format == "base64":
        array = vectors.contiguous().numpy()
        return base64.b64encode((array if sys.byteorder == "little" else array.byteswap()).tobytes()).decode()
    rows: list[list[float]] = vectors.tolist()
    return rows
