"""Where a webhook may go. Users name the URLs, and the machine that sends may reach what they may not.

A URL is https, names a host and shows no credentials. The host is resolved once for each attempt; if any of its
addresses is not one of the public internet, nothing is sent; else the connection is made to one of these very
addresses, so that a name that resolves to something else a moment later changes nothing. TLS and ``Host`` go by the
name. In development http is allowed too, and loopback, and nothing else of what is private.

    Refused                     a URL that is none for webhooks, or a host with an address that is not public
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore
import httpx

MAX_URL = 2048
MAX_ADDRESSES = 4
"""So many addresses of a name are tried, one after the other; all of them are checked."""
MAX_READ = 64 * 1024
"""So many bytes of an answer are read, with its headers; then the connection is cut."""
PIECE = 4096
"""So many at a time."""
LOOKUPS = 64
"""Names that may be looked up at once: a name server that is slow holds a thread each."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, as text. Raises OSError."""

PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
"""All that is given out of IPv6. Mapped and translated IPv4, loopback, local and multicast addresses are outside."""
NOT_PUBLIC_6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocols: Teredo, which holds an IPv4 address, ORCHID, benchmarks
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4: holds an IPv4 address
        "3fff::/20",  # documentation
    )
)
NOT_PUBLIC_4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",
        "100.64.0.0/10",  # between carrier and customer
        "127.0.0.0/8",
        "169.254.0.0/16",  # link-local, and the metadata of clouds
        "172.16.0.0/12",
        "192.0.0.0/24",  # protocols
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # relays of 6to4
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and broadcast
        "168.63.129.16/32",  # Azure's own services, at an address that looks public
    )
)


class Refused(Exception):
    """A webhook must not go there; says why."""


def is_public(address: Address) -> bool:
    """Does the address belong to the public internet?"""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in NOT_PUBLIC_4)
    # a scope (fe80::1%eth0) names an interface of this machine
    return address.scope_id is None and address in PUBLIC_6 and not any(address in network for network in NOT_PUBLIC_6)


def is_loopback(address: Address) -> bool:
    """This machine itself, in the plain notations."""
    return address in ipaddress.IPv4Network("127.0.0.0/8") if address.version == 4 else str(address) == "::1"


def parse_url(text: str, *, development: bool) -> httpx.URL:
    """The URL, as it is requested. Raises Refused with the reason, which may be shown to the user."""
    if len(text) > MAX_URL or not text.isascii() or any(char <= " " or char in '\\\x7f"<>^`{|}' for char in text):
        raise Refused(f"Give an absolute URL of at most {MAX_URL} visible ASCII characters.")
    try:
        url = httpx.URL(text)
        host, port = url.raw_host.decode("ascii"), url.port
    except (httpx.InvalidURL, ValueError, UnicodeError):
        raise Refused("This is no URL.") from None
    if url.scheme != "https" and not (development and url.scheme == "http"):
        raise Refused("The URL must begin with https://.")
    if not host or url.userinfo or "@" in url.netloc.decode("ascii"):
        raise Refused("The URL must name a host, and no user or password.")
    if url.fragment or "#" in text:
        raise Refused("The URL must have no fragment.")
    if port is not None and not 1 <= port <= 65535:
        raise Refused("The port must be 1 to 65535.")
    literal = _literal(host)
    if literal is not None:
        check_addresses([literal], url, development=development)
    elif _is_local_name(host) and not development:
        raise Refused("The host is not one of the public internet.")
    return url


def check_addresses(found: Iterable[str], url: httpx.URL, *, development: bool) -> list[str]:
    """All addresses of the URL's host, each of them found good. Raises Refused."""
    addresses = [ipaddress.ip_address(text) for text in dict.fromkeys(found)]
    loopback = development and all(is_loopback(address) for address in addresses)
    if not addresses or not (loopback or all(is_public(address) for address in addresses)):
        raise Refused("The host is not one of the public internet.")
    if url.scheme != "https" and not loopback:
        raise Refused("http is for loopback only.")
    return [str(address) for address in addresses]


def _literal(host: str) -> str | None:
    """The address that a host is without any name server, in whatever notation: 127.1, 0x7f000001, [::1]."""
    try:
        found = socket.getaddrinfo(host.strip("[]"), 443, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError, ValueError):
        return None
    return str(found[0][4][0])


def _is_local_name(host: str) -> bool:
    name = host.rstrip(".").lower()
    return "." not in name or name.endswith((".localhost", ".local", ".internal", ".home.arpa"))


class SystemResolver:
    """The system's own lookup (hosts file included), in threads of its own; one lookup of a name at a time."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")
        self._under_way: dict[tuple[str, int], asyncio.Future[list[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        key = (host, port)
        lookup = self._under_way.get(key)
        if lookup is None:
            loop = asyncio.get_running_loop()
            lookup = self._under_way[key] = loop.run_in_executor(self._threads, _look_up, host, port)
            lookup.add_done_callback(lambda done: self._forget(key, done))
        # whoever waits may give up; a lookup cannot
        return await asyncio.shield(lookup)

    def close(self) -> None:
        """Look up no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _forget(self, key: tuple[str, int], done: asyncio.Future[list[str]]) -> None:
        self._under_way.pop(key, None)
        if not done.cancelled():
            done.exception()  # it has been seen, even where everybody gave up


def _look_up(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return [str(address[4][0]) for address in found]


class _Bounded(httpcore.AsyncNetworkStream):
    """A connection of which MAX_READ bytes are read, headers and all, and no more: interim answers (1xx) and chunks of
    a byte each cost the event loop far more than they weigh."""

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = MAX_READ

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        if self._left <= 0:
            raise httpcore.ReadError("The answer is too long.")
        await asyncio.sleep(0)  # what is there already is read without waiting, and others have their turn
        data = await self._stream.read(min(max_bytes, PIECE), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore.AsyncNetworkStream:
        return _Bounded(await self._stream.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Connects to the addresses that were checked, and to nothing else; for one request."""

    def __init__(self, url: httpx.URL, resolve: Resolve, *, development: bool) -> None:
        self._url = url
        self._resolve = resolve
        self._development = development
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 (the interface is httpcore's)
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            found = await self._resolve(host.strip("[]"), port)
        except (OSError, UnicodeError) as exc:
            raise Refused("The host has no address.") from exc
        addresses = check_addresses(found, self._url, development=self._development)
        for address in addresses[:MAX_ADDRESSES]:
            try:
                stream = await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as exc:
                failed = exc
            else:
                return _Bounded(stream)
        raise failed

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise Refused("A webhook goes to no socket.")
