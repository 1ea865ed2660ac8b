"""Which addresses may be asked: hosts of the catalogue over https, or where an operator's route leads instead."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpcore
import httpx

from plant_traits.errors import WebError
from plant_traits.sources.web.framing import FramedBackend

_SHOWN = 200
# Ranges that some versions of Python count as global: protocol assignments (a cloud's metadata service among them),
# IPv6 ranges that lead to an IPv4 address written inside (NAT64, 6to4, IPv4-compatible, IPv4-translated), and
# site-local addresses. None of them is where a public service is published.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(x)
    for x in (
        "192.0.0.0/24",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "::/96",
        "::ffff:0:0:0/96",
        "fec0::/10",
        "3fff::/20",
    )
)


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
        return self._checked(url).raw_host.decode("ascii").rstrip(".")

    def routed(self, url: str) -> str:
        """Return the address that is really asked: the route's where the host has one, else the same.

        Raises:
            WebError: see ``host_of``.
        """
        parsed = self._checked(url)
        host = parsed.raw_host.decode("ascii").rstrip(".")
        if host not in self.routes:
            return str(parsed.copy_with(fragment=None))
        # Its dots are resolved: a path cannot climb out of the route.
        return f"{self.routes[host].rstrip('/')}{parsed.raw_path.decode('ascii')}"

    def _checked(self, url: str) -> httpx.URL:
        shown = without_secrets(url)[:_SHOWN]
        try:
            parts = urlsplit(url)
            port, named = parts.port, parts.hostname or ""
            parsed = httpx.URL(url)
        except (ValueError, httpx.InvalidURL, UnicodeError) as error:
            raise WebError("refused_address", f"{shown!r} is no address: {type(error).__name__}") from None
        host = parsed.raw_host.decode("ascii").rstrip(".")
        # Two readers that disagree on the host are what a disguised address lives on.
        agreed = parsed.raw_host.decode("ascii") == named
        if parsed.scheme != "https" or not host or not agreed or parsed.userinfo or parts.username is not None:
            raise WebError("refused_address", f"{shown!r}: expected an https address without user name")
        if port not in (None, 443):
            raise WebError("refused_address", f"{shown!r}: expected an https address without port")
        if host not in self.hosts:
            raise WebError(
                "refused_address",
                f"{shown!r}: host {host[:_SHOWN]!r} is not among the catalogue's hosts; if it is wanted, add it to the "
                "`hosts` of its source",
            )
        return parsed


def without_secrets(url: str) -> str:
    """Return an address for a message or a manifest: without user name, password, query and fragment."""
    bare = url.split("?", maxsplit=1)[0].split("#", maxsplit=1)[0]
    scheme, colon, rest = bare.partition("://")
    if colon:
        authority, slash, path = rest.partition("/")
        bare = f"{scheme}://{authority.rpartition('@')[2]}{slash}{path}"
    return bare


def is_public(text: str) -> bool:
    """Say whether an IP address is one that the public network routes to."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return is_public(str(address.ipv4_mapped))
        if address.teredo is not None:
            return False
    if any(address in network for network in _NOT_PUBLIC):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def public_addresses(host: str, port: int) -> list[str]:
    """Look up a host and return its IP addresses, all of them public.

    Raises:
        WebError: ``refused_address`` where one of them is private, loopback, link-local, reserved or multicast, as the
            metadata services of clouds are; ``unavailable`` where there are none.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise WebError("unavailable", f"host {host} is not found ({error}); check the network") from error
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise WebError("unavailable", f"host {host} has no address; check the network")
    for text in addresses:
        if not is_public(text):
            raise WebError("refused_address", f"host {host} leads to {text}, which is not a public address")
    return addresses


class PublicBackend(FramedBackend):
    """Connects to public addresses only: the address checked is the address connected to, whatever DNS says next."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        """Look the host up, check every address, and connect to the first that answers.

        Raises:
            WebError: ``refused_address``.
            httpcore.ConnectError: it is not found or does not answer; that may pass.
        """
        try:
            addresses = public_addresses(host, port)
        except WebError as error:
            if error.reason == "unavailable":
                raise httpcore.ConnectError(str(error)) from error
            raise
        failure: Exception | None = None
        for address in addresses:
            try:
                return super().connect_tcp(address, port, timeout, local_address)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"no address of {host} answers")

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        """Refuse: nothing public lies behind a local socket."""
        raise WebError("refused_address", f"local socket {path} is not a public address")
