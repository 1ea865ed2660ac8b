from __future__ import annotations

import socket

import httpcore
import pytest

from plant_traits.errors import WebError
from plant_traits.sources.web import addresses
from plant_traits.sources.web.addresses import (
    AddressBook,
    PublicBackend,
    is_public,
    public_addresses,
    without_secrets,
)

BOOK = AddressBook(
    frozenset({"a.example.org", "b.example.org"}), {"b.example.org": "http://127.0.0.1:8080/b.example.org/"}
)


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example.org/x",
        "ftp://a.example.org/x",
        "file:///etc/passwd",
        "//a.example.org/x",
        "a.example.org/x",
        "",
        "https://",
        "https:///x",
        "https://evil.example.org/x",
        "https://a.example.org.evil.org/x",
        "https://evil.org/a.example.org",
        "https://evil.org?a.example.org",
        "https://evil.org#@a.example.org/",
        "https://a.example.org@evil.org/x",
        "https://user@a.example.org/x",
        "https://user:word@a.example.org/x",
        "https://:word@a.example.org/x",
        "https://a.example.org:8443/x",
        "https://a.example.org:80/x",
        "https://a.example.org:x/",
        "https://a.example.org:99999999/",
        "https://a.example.org\\@evil.org/x",
        "https://evil.org\\@a.example.org/x",
        "https://a.example.org\\.evil.org/x",
        "https://a.example.org\n.evil.org/x",
        "https://a.example.org/\nx",
        "https://a.example.org%2eevil.org/",
        "https://127.0.0.1/x",
        "https://127.0.0.1:8080/b.example.org/x",
        "http://127.0.0.1:8080/b.example.org/x",
        "https://localhost/x",
        "https://0.0.0.0/x",
        "https://0/x",
        "https://2130706433/x",
        "https://0x7f000001/x",
        "https://0177.0.0.1/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[::ffff:169.254.169.254]/x",
        "https://[::/x",
        "https://a.example.org。evil.org/",
        "https://ａ.example.org/",
        "javascript:alert(1)",
        "https://a.example.org" + "a" * 70_000,
    ],
)
def test_addresses_outside_the_catalogue_are_refused(url: str) -> None:
    for ask in (BOOK.host_of, BOOK.routed):
        with pytest.raises(WebError) as caught:
            ask(url)
        assert caught.value.reason == "refused_address"
        assert "word" not in str(caught.value)
        assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("https://a.example.org/x?y=1", "https://a.example.org/x?y=1"),
        ("https://a.example.org", "https://a.example.org"),
        ("https://A.Example.ORG:443/x", "https://a.example.org/x"),
        ("https://a.example.org/%2Fx%20y?a=%26", "https://a.example.org/%2Fx%20y?a=%26"),
        ("https://b.example.org/x/y?z=1&z=2#part", "http://127.0.0.1:8080/b.example.org/x/y?z=1&z=2"),
        ("https://b.example.org", "http://127.0.0.1:8080/b.example.org/"),
        ("https://b.example.org?q=1", "http://127.0.0.1:8080/b.example.org/?q=1"),
        ("https://b.example.org/../../a/../secret", "http://127.0.0.1:8080/b.example.org/secret"),
        ("https://b.example.org//127.0.0.1/x", "http://127.0.0.1:8080/b.example.org//127.0.0.1/x"),
    ],
)
def test_addresses_of_the_catalogue_are_asked_as_they_are_or_routed(url: str, asked: str) -> None:
    assert BOOK.routed(url) == asked


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.0.192",
        "198.18.0.1",
        "203.0.113.5",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",
        "fec0::1",
        "ff02::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "64:ff9b::169.254.169.254",
        "2002:7f00:1::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    ],
)
def test_addresses_that_are_not_public(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_public(text)
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("93.184.215.14", 443)),
        (family, socket.SOCK_STREAM, 6, "", (text, 443)),
    ]
    monkeypatch.setattr(addresses.socket, "getaddrinfo", lambda *_, **__: found)
    with pytest.raises(WebError) as caught:  # one bad address among good ones is enough
        public_addresses("a.example.org", 443)
    assert caught.value.reason == "refused_address"
    with pytest.raises(WebError):
        PublicBackend().connect_tcp("a.example.org", 443)


@pytest.mark.parametrize(
    "text", ["93.184.215.14", "8.8.8.8", "2606:2800:21f:cb07:6820:80da:af6b:8b2c", "::ffff:8.8.8.8"]
)
def test_addresses_that_are_public(text: str) -> None:
    assert is_public(text)


def test_a_host_that_is_not_found_may_be_found_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(addresses.socket, "getaddrinfo", fail)
    with pytest.raises(httpcore.ConnectError):
        PublicBackend().connect_tcp("a.example.org", 443)


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter(["93.184.215.14", "127.0.0.1"])  # a name that changes its mind

    def resolve(*_: object, **__: object) -> list[object]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), 443))]

    connected: list[str] = []

    def connect(_: object, host: str, *__: object) -> str:
        connected.append(host)
        return "stream"

    monkeypatch.setattr(addresses.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpcore.SyncBackend, "connect_tcp", connect)
    PublicBackend().connect_tcp("a.example.org", 443)
    assert connected == ["93.184.215.14"]


def test_what_is_shown_of_an_address_holds_no_secret() -> None:
    assert without_secrets("https://u:secret@a.org/p@x?token=secret#secret") == "https://a.org/p@x"
    assert without_secrets("https://a.org?token=secret") == "https://a.org"
    assert without_secrets("plain text") == "plain text"
