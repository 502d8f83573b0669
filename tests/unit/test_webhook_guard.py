"""Where webhooks go, and where they do not: a corpus of hostile URLs, rebinding, pinning, the signature's vector."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpcore
import pytest
import pytest_asyncio
from standardwebhooks import Webhook

from app.webhooks.guard import NOT_PUBLIC_4, NOT_PUBLIC_6, Refused, SystemResolver, is_public, parse_url
from app.webhooks.sender import Message, Sender, _seconds, signed_headers
from tests.support.webhooks import Received, Receiver, answer, receiving

CERTIFICATE = Path(__file__).parent.parent / "support" / "hooks.example.com.pem"
TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

HOSTILE = [
    "http://127.0.0.1:{port}/",
    "https://127.0.0.1:{port}/",
    "https://localhost:{port}/",
    "https://localhost.:{port}/",
    "https://127.1:{port}/",
    "https://127.0.1:{port}/",
    "https://2130706433:{port}/",
    "https://0x7f000001:{port}/",
    "https://0x7f.0.0.1:{port}/",
    "https://0177.0.0.1:{port}/",
    "https://017700000001:{port}/",
    "https://0:{port}/",
    "https://0.0.0.0:{port}/",
    "https://[::]:{port}/",
    "https://[::1]:{port}/",
    "https://[0:0:0:0:0:0:0:1]:{port}/",
    "https://[::ffff:127.0.0.1]:{port}/",
    "https://[::ffff:7f00:1]:{port}/",
    "https://[::127.0.0.1]:{port}/",
    "https://[64:ff9b::7f00:1]:{port}/",
    "https://[64:ff9b:1::7f00:1]:{port}/",
    "https://[2002:7f00:1::]:{port}/",
    "https://[2001:0:4136:e378:8000:63bf:80ff:fffe]:{port}/",
    "https://[fe80::1]:{port}/",
    "https://[fe80::1%25lo]:{port}/",
    "https://[fc00::1]:{port}/",
    "https://[fd00:ec2::254]/latest/meta-data/",
    "https://[ff02::1]:{port}/",
    "https://[100::1]:{port}/",
    "https://[2001:db8::1]:{port}/",
    "https://10.0.0.1/",
    "https://172.16.0.1/",
    "https://172.31.255.255/",
    "https://192.168.1.1/",
    "https://169.254.169.254/latest/meta-data/",
    "https://0xa9fea9fe/latest/meta-data/",
    "https://[::ffff:169.254.169.254]/latest/meta-data/",
    "https://100.100.100.200/latest/meta-data/",
    "https://168.63.129.16/metadata",
    "https://192.0.0.192/opc/v1/instance/",
    "https://198.18.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://240.0.0.1/",
    "https://user:password@127.0.0.1:{port}/",
    "https://example.com@127.0.0.1:{port}/",
    "https://example.com:80#@127.0.0.1:{port}/",
    "https://example.com\\@127.0.0.1:{port}/",
    "https://127.0.0.1:{port}\\@example.com/",
    "https:///127.0.0.1:{port}/",
    "https:127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "https://127。0。0。1:{port}/",
    "https://①②⑦.0.0.1:{port}/",
    "https://127.0.0.1%2f.example.com:{port}/",
    "https://127.0.0.1:{port}/\r\nHost: example.com",
    "https://example.com:{port}/ HTTP/1.1",
    "https://metadata.google.internal/computeMetadata/v1/",
    "https://private.test:{port}/",
    "https://mapped.test:{port}/",
    "https://metadata.test/",
    "https://one-of-two.test:{port}/",
    "https://scoped.test:{port}/",
    "https://nothing.test:{port}/",
    "https://nowhere.test:{port}/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_GET",
    "javascript:alert(1)",
    "unix:///var/run/docker.sock",
    "https://",
    "",
]
NAMES = {
    "private.test": ["10.1.2.3"],
    "mapped.test": ["::ffff:127.0.0.1"],
    "metadata.test": ["169.254.169.254"],
    "one-of-two.test": ["192.0.78.24", "127.0.0.1"],
    "scoped.test": ["fe80::1%lo"],
    "nothing.test": [],
}

_connects: list[Any] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _connects is not None and event == "socket.connect":
        _connects.append(arguments[1])


@pytest.fixture
def connects() -> Iterator[list[Any]]:
    """Every address that this process connects to, as the interpreter sees it."""
    global _connects
    if not hasattr(_watch, "added"):
        sys.addaudithook(_watch)
        _watch.added = True  # type: ignore[attr-defined]
    _connects = []
    yield _connects
    _connects = None


@pytest_asyncio.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver that nothing may reach."""
    async with receiving() as found:
        yield found


async def names(host: str, port: int) -> Sequence[str]:
    """Names of these tests, else the system's."""
    return NAMES[host] if host in NAMES else await SystemResolver()(host, port)


def message(url: str, *secrets: str) -> Message:
    """Something to send."""
    return Message(uuid4(), url, secrets or (SECRET,), "x.y", datetime.now(UTC), '{"n": 1}')


@pytest.mark.parametrize("url", HOSTILE)
async def test_no_hostile_url_is_reached(url: str, receiver: Receiver, connects: list[Any]) -> None:
    sender = Sender(development=False, resolve=names, ssl_context=TRUSTS_NOBODY)
    result = await sender.send(message(url.replace("{port}", str(receiver.port))))
    assert (result.status, result.error) == (None, "address")
    assert connects == []
    assert receiver.connections == 0


LOOPBACK_IN_DEVELOPMENT = ("127", "localhost", "2130706433", "0x7f", "0177", "01770", "[::1]", "[0:0:0:0:0:0:0:1]")


@pytest.mark.parametrize("url", [u for u in HOSTILE if not u.partition("://")[2].startswith(LOOPBACK_IN_DEVELOPMENT)])
async def test_development_reaches_loopback_and_nothing_else(url: str, connects: list[Any]) -> None:
    sender = Sender(development=True, resolve=names, ssl_context=TRUSTS_NOBODY)
    result = await sender.send(message(url.replace("{port}", "1")))
    assert (result.status, result.error) == (None, "address")
    assert connects == []


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "https://user@example.com/",
        "https://:@example.com/",
        "https://example.com/#",
        "https://example.com/#x",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://exam ple.com/",
        "https://example.com/\n",
        "https://intranet/",
        "https://printer.local/",
        "https://a.home.arpa/",
        "https://10.0.0.1/",
        "https://[::ffff:10.0.0.1]/",
        "https://example.com/" + "x" * 2048,
        "HTTP://example.com/",
    ],
)
def test_a_url_is_refused_as_it_is_given(url: str) -> None:
    with pytest.raises(Refused):
        parse_url(url, development=False)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com",
        "https://example.com/hook?a=b&c=%20d",
        "HTTPS://Example.COM:8443/Hook",
        "https://xn--bcher-kva.example/",
        "https://93.184.216.34/",
        "https://[2606:2800:220:1:248:1893:25c8:1946]/",
    ],
)
def test_a_url_of_the_public_internet_is_taken(url: str) -> None:
    assert parse_url(url, development=False).scheme == "https"


def test_no_public_address_is_one_that_python_calls_private() -> None:
    """The edges of each range, and random addresses: never more than the standard library allows."""
    networks: list[ipaddress.IPv4Network | ipaddress.IPv6Network] = [*NOT_PUBLIC_4, *NOT_PUBLIC_6]
    for network in networks:
        assert not is_public(network.network_address)
        assert not is_public(network.broadcast_address)
    for number in range(0, 2**32, 65_521):
        address = ipaddress.IPv4Address(number)
        assert not is_public(address) or (address.is_global and not address.is_multicast)
        assert not is_public(ipaddress.IPv6Address(f"::ffff:{address}"))


async def test_a_name_that_changes_its_mind_is_asked_once(receiver: Receiver, connects: list[Any]) -> None:
    """DNS rebinding: good when it is checked, another one a moment later."""
    answers = [["127.0.0.1"], ["10.0.0.1"], ["127.0.0.1", "10.0.0.1"], ["10.0.0.1", "127.0.0.1"]]
    asked: list[str] = []

    async def rebinding(host: str, _: int) -> Sequence[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    sender = Sender(development=True, resolve=rebinding)
    url = receiver.url(host="rebinding.test")
    first = await sender.send(message(url))
    assert (first.status, first.error, len(asked)) == (200, None, 1)
    assert connects == [("127.0.0.1", receiver.port)]
    assert receiver.received[0].headers["host"] == f"rebinding.test:{receiver.port}"
    for number in (2, 3, 4):
        result = await sender.send(message(url))
        assert (result.status, result.error, len(asked)) == (None, "address", number)
    assert len(connects) == receiver.connections == 1


async def test_a_redirect_is_not_followed(receiver: Receiver, connects: list[Any]) -> None:
    for status in (301, 302, 303, 307, 308):
        receiver.answers["/hook"] = answer(status, Location=receiver.url("/inside"))
        result = await Sender(development=True).send(message(receiver.url()))
        assert (result.status, result.error) == (status, "redirect")
    assert {request.path for request in receiver.received} == {"/hook"}
    assert len(connects) == 5


async def test_proxies_of_the_environment_are_ignored(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy:
        for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url())
        assert (await Sender(development=True).send(message(receiver.url()))).status == 200
        assert proxy.connections == 0


async def test_tls_goes_by_the_name_and_the_connection_by_the_address(connects: list[Any]) -> None:
    server, client = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context(cafile=CERTIFICATE)
    server.load_cert_chain(CERTIFICATE)

    async def here(*_: object) -> Sequence[str]:
        return ["127.0.0.1"]

    async with receiving(server) as receiver:
        sender = Sender(development=True, resolve=here, ssl_context=client)
        for name, status, error in (("hooks.example.com", 200, None), ("other.example.com", None, "tls")):
            result = await sender.send(message(receiver.url(host=name, scheme="https")))
            assert (result.status, result.error) == (status, error)
        stranger = await Sender(development=True, resolve=here).send(
            message(receiver.url(host="hooks.example.com", scheme="https"))
        )
        assert (stranger.status, stranger.error) == (None, "tls")
        assert [request.headers["host"] for request in receiver.received] == [f"hooks.example.com:{receiver.port}"]
        assert set(connects) == {("127.0.0.1", receiver.port)}


async def test_time_is_capped_in_whole(receiver: Receiver) -> None:
    async def drips(_: Received, writer: Any) -> None:
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.05)

    sender = Sender(development=True, total_seconds=0.5)
    receiver.answers["/hook"] = drips
    result = await sender.send(message(receiver.url()))
    assert result.status is None
    assert result.error in ("timeout", "protocol")


@pytest.mark.parametrize(
    ("begins", "goes_on", "status"),
    [
        (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1;" + b"x" * 1000 + b"\r\nx\r\n", 200),
    ],
)
async def test_an_answer_without_end_is_cut_off(
    receiver: Receiver, begins: bytes, goes_on: bytes, status: int | None
) -> None:
    written = 0

    async def floods(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(begins)
        while True:
            writer.write(goes_on * 100)
            await writer.drain()
            written += len(goes_on) * 100

    receiver.answers["/hook"] = floods
    result = await Sender(development=True, total_seconds=5).send(message(receiver.url()))
    assert (result.status, result.error) == (status, "protocol" if status is None else None)
    assert result.answer == (None if status is None else "x" * len(result.answer or ""))
    assert written < 20_000_000, "what the buffers of sockets take, and no more"


async def test_an_address_where_nobody_answers_is_followed_by_the_next(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect = httpcore.AnyIOBackend.connect_tcp
    tried: list[str] = []

    async def silent(self: httpcore.AnyIOBackend, host: str, *args: Any) -> httpcore.AsyncNetworkStream:
        tried.append(host)
        if host == "127.0.0.2":
            raise httpcore.ConnectTimeout
        return await connect(self, host, *args)

    async def two(*_: object) -> Sequence[str]:
        return ["127.0.0.2", "127.0.0.1"]

    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", silent)
    result = await Sender(development=True, resolve=two).send(message(receiver.url(host="two.test")))
    assert (result.status, tried) == (200, ["127.0.0.2", "127.0.0.1"])


async def test_a_name_server_that_is_slow_costs_the_attempt_only(receiver: Receiver) -> None:
    async def never(*_: object) -> Sequence[str]:
        await asyncio.sleep(3600)
        raise AssertionError

    result = await Sender(development=True, resolve=never, total_seconds=0.2).send(message(receiver.url(host="a.test")))
    assert (result.status, result.error) == (None, "timeout")


async def test_a_lookup_is_shared_and_outlives_who_gives_up() -> None:
    resolver = SystemResolver()
    first, second = (asyncio.ensure_future(resolver("localhost", 80)) for _ in range(2))
    await asyncio.sleep(0)
    assert len(resolver._under_way) == 1
    first.cancel()
    assert set(await second) <= {"127.0.0.1", "::1"}
    assert resolver._under_way == {}
    with pytest.raises(socket.gaierror):
        await resolver("nowhere.invalid", 80)
    resolver.close()


def test_the_vector_of_standard_webhooks() -> None:
    signature = Webhook(SECRET).sign(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", datetime.fromtimestamp(1614265330, UTC), '{"test": 2432232314}'
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    made = message("https://example.com", SECRET, "whsec_" + "A" * 44)
    headers = signed_headers(made, b"{}", datetime.now(UTC))
    for secret in made.secrets:
        assert Webhook(secret).verify(b"{}", headers) == {}
    assert headers["webhook-id"] == str(made.id)


def test_retry_after_is_seconds_or_a_date() -> None:
    assert _seconds(b"120") == 120
    assert _seconds(b"0") == 0
    assert _seconds(b"9" * 500) == 10**8
    soon = _seconds(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True).encode())
    assert soon is not None
    assert 3500 < soon <= 3600
    assert _seconds(b"Wed, 21 Oct 2015 07:28:00 GMT") == 0
    for nonsense in (b"", b"soon", b"-1", b"1.5", b"\xb2", b"Wed, 99 Oct 2015 07:28:00 GMT"):
        assert _seconds(nonsense) is None
