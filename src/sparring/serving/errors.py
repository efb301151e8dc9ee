"""What a client is told when a request fails: one form for every endpoint, with the status that says whose turn it is.

    {"error": {"message": "…", "type": "invalid_request", "field": "items[2].steps[0]", "code": null}}

Contract: 4xx is the request's fault and says which field; 429 and 503 may be tried again, after `Retry-After` seconds; 500
is a fault of the model or of Sparring. Nothing of the request's text is repeated, and no traceback leaves the process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError, WrapValidator
from pydantic_core import PydanticCustomError

from sparring.errors import DataError, SparringError, did_you_mean, said_by_pydantic
from sparring.serving.batcher import BatcherError, QueueFull, TooLate, WorkerLost


class ErrorBody(BaseModel):
    """What went wrong."""

    message: str
    """For people."""
    type: str
    """Kind of error, one word for programs."""
    field: str | None = None
    """Which part of the request, where one part is at fault."""
    code: str | None = None
    """Finer than `type`, where there is more to say."""


class ErrorAnswer(BaseModel):
    """The answer to a request that failed."""

    error: ErrorBody


class ApiError(SparringError):
    """A request that cannot be answered as asked.

    Args:
        type: kind of error; without it that of the status.
        retry_after: seconds after which another try is worth it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str | None = None,
        field: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message = status, message
        self.type = type or TYPES.get(status, "invalid_request" if status < 500 else "server_error")
        self.field, self.code, self.retry_after = field, code, retry_after

    def body(self) -> dict[str, Any]:
        """Return the answer's body."""
        return {"error": {"message": self.message, "type": self.type, "field": self.field, "code": self.code}}

    def headers(self) -> dict[str, str]:
        """Return the answer's own headers."""
        headers = {} if self.retry_after is None else {"Retry-After": str(max(1, round(self.retry_after)))}
        return headers | ({"WWW-Authenticate": "Bearer"} if self.status == 401 else {})


TYPES = {
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    413: "too_large",
    429: "overloaded",
    499: "client_left",
    503: "unavailable",
    504: "timeout",
}
"""Kinds of errors by status; otherwise `invalid_request` or `server_error`."""

RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "The body is not JSON.",
        401: "The bearer token is missing or wrong.",
        404: "No model of this name is served.",
        408: "The body did not come in time.",
        413: "The request is larger than a limit.",
        421: "The `Host` header names another machine than this one, and there is no token.",
        422: "A field cannot be used; `field` says which.",
        429: "The queue is full: try again after `Retry-After` seconds.",
        502: "A policy on another server gives nothing usable.",
        500: "The model failed, or its scores are no numbers.",
        503: "Going down, or the worker was lost: try again.",
        504: "Not done in time.",
    }.items()
}
"""Answers that every endpoint which asks a model may give, for the OpenAPI document."""


def from_data_error(error: DataError, place: str = "") -> ApiError:
    """Return the error of a text that cannot be scored.

    Args:
        place: where in the request it stands, put before the error's own field.
    """
    field = ".".join(part for part in (place, error.field) if part) or None
    return ApiError(422, error.message, field=field)


def from_batcher_error(error: BatcherError) -> ApiError:
    """Return what a client is told of work that was not done."""
    if isinstance(error, QueueFull):
        return ApiError(429, "too much is waiting for the model", retry_after=error.retry_after)
    if isinstance(error, TooLate):
        return ApiError(504, "not done in time")
    if isinstance(error, WorkerLost):
        return ApiError(503, str(error), retry_after=1)
    return ApiError(500, "the model failed at this request; the log says more", type="model_failed")


def refuse_more(number: int, most: int, what: str, field: str | None) -> None:
    """Raise 413 where there are more of something than a limit allows."""
    if number > most:
        raise ApiError(413, f"more than {most} {what}", field=field)


def or_say(message: str) -> WrapValidator:
    """Return what says so of a field that cannot be used, in place of what is wrong with each form that it may have."""

    def check(value: Any, usual: Callable[[Any], Any]) -> Any:
        try:
            return usual(value)
        except ValidationError:
            raise PydanticCustomError("unusable", "{said}", {"said": message}) from None

    return WrapValidator(check)


FAULT = "an internal error; the log says more"
NOT_SUPPORTED = or_say("not supported by sparring serve")


def from_validation(problems: Sequence[Any], known: Collection[str] = ()) -> ApiError:
    """Return the error of a body that pydantic refused: its first problem, and how many more there are.

    An unknown field comes first: it is often the one that another is missing for.

    Args:
        known: names of fields that there are, for one that is misspelt.
    """
    first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    if first["type"] == "json_invalid":
        return ApiError(400, f"the body is not JSON: {first.get('ctx', {}).get('error', first['msg'])}")
    where, more = field_name(first["loc"]), len(problems) - 1
    message = said_by_pydantic(first)
    message = f"{message[:1].lower()}{message[1:]}"
    if first["type"] == "extra_forbidden":
        name = str(first["loc"][-1])[:80]
        if name not in known:
            message = f"unknown field '{name}'{did_you_mean(name, known)}"
        elif name in ("steps", "text"):
            message = f"{where}: give steps or text, not both"
        else:
            message = f"{where}: does not go with the other fields here"
    elif where:
        message = f"{where}: {message}"
    if more:
        message += f" (and {more} more problem{'s' * (more > 1)})"
    return ApiError(422, message, field=where or None)


def field_name(location: Sequence[Any]) -> str:
    """Return pydantic's location as it is written in the request: ``items[0].steps[2]``.

    Names in angle brackets are those of members of a union, and no part of the request.
    """
    name = ""
    for part in location[1:] if location and location[0] in ("body", "query", "path", "header") else location:
        if isinstance(part, int):
            name += f"[{part}]"
        elif not str(part).startswith("<"):
            name += f".{part}" if name else str(part)
    return name
