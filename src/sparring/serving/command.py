"""`sparring serve`: models in, a listening server until it is told to stop.

Contract: models are loaded and the address is taken before anything is said; SIGTERM and Ctrl-C finish what was accepted
and end with status 0. The address on standard output is the one that clients can use (`port=0` takes any that is free).
Without a token only requests to a loopback name are answered.

Not here: endpoints (`app.py`).
"""

from __future__ import annotations

import gc
import ipaddress
import logging
import os
import re
import socket
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from sparring.errors import SettingsError, install_extra, needs

if TYPE_CHECKING:
    from sparring.serving.settings import ServeSettings


def serve(settings: ServeSettings) -> None:
    """Serve until told to stop.

    Raises:
        SettingsError: an extra is missing, the address is taken, or others could reach a server without a token.
        CheckpointError: a model cannot be loaded.
    """
    for module in ("fastapi", "uvicorn", "prometheus_client"):
        with needs("sparring serve", module, install_extra("serve")):
            import_module(module)
    import uvicorn

    from sparring.serving.app import make_app
    from sparring.serving.logs import log, start_log
    from sparring.serving.models import load_models

    token = token_of(settings)
    listening = _listen(settings)
    start_log(settings.log_level)
    models = load_models(settings, loaded=lambda name: log(logging.INFO, "loaded", model=name))
    # A page elsewhere can call itself a name that leads here (DNS rebinding): its browser asks as the user.
    anybody = token is None and not settings.allow_open
    app = make_app(models, settings, token=token, own_host=is_own_host if anybody else None)
    address, port = listening.getsockname()[:2]
    url = f"http://{f'[{address}]' if ':' in address else address}:{port}"
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=round(settings.shutdown_seconds),
    )
    listening.listen(2048)  # who has read the address may ask at once
    log(logging.INFO, "listening", address=url, models=list(models.prms), token=token is not None)
    print(url, flush=True)
    with suppress(KeyboardInterrupt):  # uvicorn raises the signal again after it has stopped in order
        uvicorn.Server(config).run(sockets=[listening])
    log(logging.INFO, "stopped")
    # Nothing is left to clear up, and a collector that looks for it among all objects of torch takes seconds.
    gc.freeze()


def token_of(settings: ServeSettings) -> str | None:
    """Return the token that clients must send, None for none.

    Raises:
        SettingsError: it is not set, or others could reach the server without one.
    """
    if settings.token_variable is not None:
        token = os.environ.get(settings.token_variable, "").strip()
        if not token:
            raise SettingsError(
                f"the environment variable {settings.token_variable} (token_variable) is not set"
            )
        return token
    if not settings.allow_open and not _is_loopback(settings.host):
        raise SettingsError(
            f"host={settings.host} can be reached by others, who then need no token: set token_variable, or "
            "allow_open=true if that is meant"
        )
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


def is_own_host(header: str) -> bool:
    """Whether a `Host` header, with any port, is localhost or an address of this machine alone.

    Without a token the server listens at such an address only (`token_of`), so its own is one of them.
    """
    found = re.fullmatch(r"(?:\[([0-9a-fA-F:.]+)\]|([^:\[\]]+))(?::\d*)?", header)
    return found is not None and _is_loopback((found[1] or found[2]).lower())


def _listen(settings: ServeSettings) -> socket.socket:
    """Return a socket that is bound: an address that is taken is told before models are loaded."""
    try:
        family, _, _, _, place = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # By name of the protocol: asyncio sends small answers at once on such connections only, others wait 40 ms.
        listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(place)
    except OSError as error:
        raise SettingsError(f"cannot listen at {settings.host}:{settings.port}: {error.strerror}") from None
    return listening
