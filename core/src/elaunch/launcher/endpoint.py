"""The agent's endpoint: where it listens, and from when to when.

What it takes to answer is imported when somebody asks: most agents are asked nothing.
"""

import asyncio
import contextlib
import logging
import os
import socket
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from elaunch.config import LaunchConfig
from elaunch.endpoint.book import Book
from elaunch.endpoint.bridge import Bridge, Controlled
from elaunch.endpoint.places import (
    RUNTIME_DIR,
    make_directory,
    new_name,
    runtime_directory,
)
from elaunch.errors import UsageError
from elaunch.feed import Feed
from elaunch.http_server import HttpServer, Request, Response
from elaunch.worker_message import WorkerMessage


if TYPE_CHECKING:
    from elaunch.endpoint.service import Service
    from elaunch.endpoint.token import ControlToken


logger = logging.getLogger(__name__)

UNIX = "unix"
"""The word for a socket in the user's directory, where nothing else is asked for."""

NOWHERE = "none"
"""The word for no endpoint at all."""


class Endpoint:
    """What one agent listens with.

    Args:
        config: Says whose it is.
        agent: Id of the agent.

    Attributes:
        book: The event recorder that must hear what happens.
    """

    def __init__(self, config: LaunchConfig, agent: str) -> None:
        self.book = Book()
        self._config = config
        self._agent = agent
        self._bridge = Bridge()
        self._service: Service | None = None
        self._loading = threading.Lock()
        self._servers: list[HttpServer] = []
        self._path = ""

    def attach(self, agent: Controlled) -> None:
        """Let the agent be told what to do."""
        self._bridge.attach(agent)

    def listen_here(self, directory: str) -> None:
        """Listen at a socket in the user's directory.

        Raises:
            OSError: If it can't.
        """
        make_directory(directory)
        path = f"{directory}/{new_name()}"
        listener = socket.socket(socket.AF_UNIX)
        try:
            # Not elsewhere and then renamed: the kernel would go on telling that other
            # path, and who cleans up /tmp by it takes the socket for a dead one.
            listener.bind(path)
            listener.listen()
        except BaseException:
            listener.close()
            raise
        self._path = path
        self._serve(listener, None)
        logger.info("this agent can be asked at %r", path)

    async def listen_at(self, host: str, port: int, token: "ControlToken") -> None:
        """Listen on the network, for who shows the token.

        Raises:
            OSError: If it can't.
        """
        from elaunch.health import listen_at

        self._serve(await asyncio.to_thread(listen_at, host, port), token)
        logger.info("this agent can be asked at %s, port %d", host, port)

    async def close(self) -> None:
        """Listen no more; whoever has asked is answered first, if that is quick."""
        self._bridge.detach()
        if self._path:
            with contextlib.suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - pathlib takes longer
        for server in self._servers:
            if server.is_busy:
                await asyncio.to_thread(server.stop)
            else:
                server.stop()

    def _serve(self, listener: socket.socket, token: "ControlToken | None") -> None:
        answer = partial(self._answer, token)
        self._servers.append(HttpServer(listener, answer, "elaunch-endpoint"))
        self._servers[-1].start()

    def _answer(self, token: "ControlToken | None", request: Request) -> Response:
        with self._loading:
            service = self._service = self._service or self._new_service()
        return service.answer(request, token)

    def _new_service(self) -> "Service":
        from importlib.metadata import version

        from elaunch.endpoint.identity import Identity
        from elaunch.endpoint.service import Service

        config = self._config
        identity = Identity(
            run_id=config.run_id,
            agent=self._agent,
            version=version("elaunch"),
            max_restarts=config.max_restarts,
            min_nodes=config.min_nodes,
            max_nodes=config.max_nodes,
            backend=config.rdzv_backend,
            endpoint=config.rdzv_endpoint,
        )
        return Service(identity=identity, book=self.book, bridge=self._bridge)


@contextlib.asynccontextmanager
async def listening(
    config: LaunchConfig,
    environment: Mapping[str, str],
    agent: str,
    messages: Feed[WorkerMessage],
) -> AsyncIterator[Sequence[Endpoint]]:
    """Answer whoever asks, while the block runs.

    Args:
        config: Says where.
        environment: The agent's environment.
        agent: Id of the agent.
        messages: What workers tell.

    Yields:
        What it listens with: one or none.

    Raises:
        UsageError: If the place that the configuration names can't be used.
    """
    if config.control == NOWHERE:
        yield ()
        return
    endpoint = Endpoint(config, agent)
    try:
        directory = runtime_directory(environment)
        try:
            endpoint.listen_here(directory)
        except OSError as error:
            logger.warning(
                "'elaunch status' won't find this agent: %s; set %s to use another "
                "directory than %r",
                *(error, RUNTIME_DIR, directory),
            )
        if config.control != UNIX:
            await _listen_on_network(endpoint, config.control, environment)
        ends = messages.subscribe(endpoint.book.hear)
        try:
            yield (endpoint,)
        finally:
            ends()
    finally:
        await endpoint.close()


async def _listen_on_network(
    endpoint: Endpoint, place: str, environment: Mapping[str, str]
) -> None:
    from elaunch.endpoint.token import needed_token
    from elaunch.health import parse_place

    token = needed_token(place, environment)
    try:
        await endpoint.listen_at(*parse_place(place), token)
    except OSError as error:
        raise UsageError(f"control {place!r}: {error}") from error
