"""The web server of both pages: uvicorn on a bound socket, with a shutdown that open pages cannot delay."""

from __future__ import annotations

import asyncio
import os
import socket

import uvicorn

DISCONNECT_AFTER_S = 1.0  # time for running requests after a signal


class WebServer(uvicorn.Server):
    """A uvicorn server that disconnects the remaining clients shortly after a signal.

    uvicorn waits for open connections. Gradio pages keep one, and an unfinished upload is one.
    """

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().call_later(DISCONNECT_AFTER_S, self.disconnect_all)
        await super().shutdown(sockets)

    def disconnect_all(self) -> None:
        """Close all connections; their handlers see a disconnected client."""
        for connection in list(self.server_state.connections):
            if (transport := connection.transport) is not None:
                transport.close()


def bind(host: str, port: int) -> socket.socket:
    """A listening socket. ValueError: the address cannot be bound."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise ValueError(f"{host} port {port}: {reason}; choose another with --port.") from None
