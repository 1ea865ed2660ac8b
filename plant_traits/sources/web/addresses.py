"""Which addresses may be asked: hosts of the catalogue over https, or where an operator's route leads instead."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpcore

from plant_traits.errors import WebError


@dataclass(frozen=True)
class AddressBook:
    """The hosts that may be asked, and routes that lead requests for a host elsewhere.

    Attributes:
        hosts: allow-listed hosts.
        routes: base address by host, such as ``http://127.0.0.1:8080/api.gbif.org``: an operator's mirror or a
            stand-in. A route is configuration and trusted; an address in data or in a redirect never is.
    """

    hosts: Collection[str]
    routes: Mapping[str, str] = field(default_factory=dict)

    def host_of(self, url: str) -> str:
        """Return the host of an address that may be asked.

        Raises:
            WebError: ``refused_address``: not https, with a user name or port, or not an allow-listed host.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise WebError("refused_address", f"{url[:200]!r} is no address: {error}") from error
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme != "https" or not host or parts.username is not None or port not in (None, 443):
            raise WebError("refused_address", f"{url[:200]!r}: expected an https address without user or port")
        if host not in self.hosts:
            raise WebError(
                "refused_address",
                f"{url[:200]!r}: host {host!r} is not among the catalogue's hosts; if it is wanted, add it to the "
                "`hosts` of its source",
            )
        return host

    def routed(self, url: str) -> str:
        """Return the address that is really asked: the route's where the host has one, else the same.

        Raises:
            WebError: see ``host_of``.
        """
        host = self.host_of(url)
        if host not in self.routes:
            return url
        parts = urlsplit(url)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.routes[host].rstrip('/')}{parts.path or '/'}{query}"


def public_addresses(host: str, port: int) -> list[str]:
    """Look up a host and return its IP addresses, all of them public.

    Raises:
        WebError: ``refused_address`` where one of them is private, loopback, link-local, reserved or multicast, as the
            metadata services of clouds are; ``unavailable`` where there are none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WebError("unavailable", f"host {host} is not found ({error}); check the network") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        if not (mapped or address).is_global or address.is_multicast:
            raise WebError("refused_address", f"host {host} leads to {text}, which is not a public address")
    return addresses


class PublicBackend(httpcore.SyncBackend):
    """Connects to public addresses only: the address checked is the address connected to, whatever DNS says next."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: object = None,
    ) -> httpcore.NetworkStream:
        """Look the host up, check every address, and connect to the first that answers."""
        failure: Exception | None = None
        for address in public_addresses(host, port):
            try:
                return super().connect_tcp(address, port, timeout, local_address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"no address of {host} answers")
