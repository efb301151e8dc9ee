"""Addresses of servers that score or judge: their kinds, the options that an address holds, and the bearer token.

Contract: an address is checked before anything is asked of it, holds no secret, and is refused in one line.

Not here: what each kind of server can be told (`scorers/door.py`), requests (`http_client.py`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeGuard
from urllib.parse import parse_qsl, urlsplit

from sparring.errors import SettingsError, did_you_mean

TOKEN_VARIABLE = "SPARRING_TOKEN"  # noqa: S105 (a name)
"""Environment variable of the bearer token for servers that are named by an address."""
KINDS = ("", "vllm", "sglang", "judge")
_SCHEMES = {f"{kind}+{web}" if kind else web: (kind, web) for kind in KINDS for web in ("http", "https")}


@dataclass(frozen=True, slots=True)
class Address:
    """A server's address, taken apart.

    Attributes:
        kind: of `KINDS`; empty for our own.
        url: what requests are sent to: scheme, host, port and path, without `/v1`.
        folder: after the `#`: where the PRM is here; empty without one.
        options: what stood after the `?`.
    """

    kind: str
    url: str
    folder: str
    options: Mapping[str, str]

    def only(self, *names: str) -> Mapping[str, str]:
        """Return the options, refusing any of another name."""
        for name in self.options:
            if name not in names:
                raise SettingsError(f"{self.url}: unknown option {name!r}{did_you_mean(name, names)}")
        return self.options


def token_from_environment() -> str | None:
    """Return the token for servers that are named by an address, if there is one.

    Raises:
        SettingsError: it cannot be sent (`checked_token`).
    """
    token = os.environ.get(TOKEN_VARIABLE)
    return checked_token(token, TOKEN_VARIABLE) if token else None


def checked_token(token: str, name: str = "the token") -> str:
    """Return a bearer token that can stand in a header.

    Raises:
        SettingsError: it has white space, a control character or one outside ASCII; never shows it.
    """
    if not all("!" <= character <= "~" for character in token):
        raise SettingsError(
            f"{name} holds white space (a line end, say), a control character or one outside ASCII, which no token has"
        )
    return token


def is_address(source: object) -> TypeGuard[str]:
    """Whether a text names a server and not a folder."""
    return isinstance(source, str) and "://" in source


def parse_address(text: str) -> Address:
    """Return an address taken apart.

    Raises:
        SettingsError: another scheme, no host, a name or password in it, an option given twice or without a value.
    """
    scheme, _, _ = text.partition("://")
    if scheme not in _SCHEMES:
        raise SettingsError(f"{text!r}: no such kind of server{did_you_mean(scheme, _SCHEMES)}")
    kind, web = _SCHEMES[scheme]
    try:
        parts = urlsplit(web + text[len(scheme) :])
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise SettingsError(f"{text!r} is no address: {error}") from None
    if not host:
        raise SettingsError(f"{text!r} is no address: a host follows '://'")
    if "@" in parts.netloc:
        raise SettingsError(
            f"an address holds no name or password, it is written into records: set {TOKEN_VARIABLE}"
        )
    try:
        pairs = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError as error:
        raise SettingsError(f"{text!r}: options are name=value, joined by &: {error}") from None
    options = dict(pairs)
    if len(options) < len(pairs) or "" in options.values():
        raise SettingsError(f"{text!r}: an option is given twice or is empty")
    path = parts.path.rstrip("/").removesuffix("/v1")
    return Address(kind, f"{web}://{parts.netloc}{path}", parts.fragment, options)


def whole_option(options: Mapping[str, str], name: str, default: int, *, least: int = 1) -> int:
    """Return an option that is a whole number.

    Raises:
        SettingsError: it is none, or too small.
    """
    text = options.get(name, str(default))
    if not text.isascii() or not text.isdigit() or len(text) > 9 or int(text) < least:
        raise SettingsError(f"?{name}= is a whole number from {least} on, got {text!r}")
    return int(text)


def number_option(options: Mapping[str, str], name: str, default: float, low: float, high: float) -> float:
    """Return an option that is a number.

    Raises:
        SettingsError: it is none, or out of range.
    """
    try:
        found = float(options.get(name, default))
    except ValueError:
        found = math.nan
    if not low <= found <= high:
        raise SettingsError(f"?{name}= is a number from {low:g} to {high:g}, got {options.get(name)!r}")
    return found
