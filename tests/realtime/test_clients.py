"""Both clients (Python, and JavaScript in Chromium) against a service that fails in every way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import msgspec
import pytest
import pytest_asyncio

from app.realtime.client import Event, Position, RealtimeClient, RealtimeError, Reset, socket_url
from app.settings import PROJECT_ROOT
from tests.support.browser import Browser, needs_browser, running_browser
from tests.support.clients import PAGE, SECONDS, BrowserSubject, PythonSubject, Subject, eventually, numbers, of, until
from tests.support.fakerealtime import PATH, FakeRealtime
from tests.support.proxy import DOWN, UP, Proxy

C, D = "stream:a", "user:b"
SCRIPT = (PROJECT_ROOT / "app" / "widgets" / "realtime.js").read_bytes()


@pytest_asyncio.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with running_browser() as running:
        yield running


@pytest_asyncio.fixture
async def fake() -> AsyncIterator[FakeRealtime]:
    async with FakeRealtime() as running:
        running.pages["/widgets/realtime.js"] = ("text/javascript", SCRIPT)
        running.pages["/page"] = ("text/html", PAGE.encode())
        yield running


@pytest_asyncio.fixture
async def proxy(fake: FakeRealtime) -> AsyncIterator[Proxy]:
    """Between the client and the service."""
    async with Proxy(fake.port) as between:
        yield between


@pytest.fixture(params=["python", pytest.param("javascript", marks=needs_browser)])
def where(request: pytest.FixtureRequest) -> Browser | None:
    """Where the client runs: in this browser, or here."""
    return None if request.param == "python" else request.getfixturevalue("browser")


@pytest_asyncio.fixture
async def client(where: Browser | None, fake: FakeRealtime, proxy: Proxy) -> AsyncIterator[Subject]:
    subject: Subject
    if where is None:
        subject = PythonSubject(f"http://127.0.0.1:{proxy.port}")
    else:
        subject = await BrowserSubject.start(where, f"{fake.url}/page", f"http://127.0.0.1:{proxy.port}{PATH}")
    yield subject
    await subject.close()


async def _following(client: Subject, fake: FakeRealtime, events: int = 2) -> None:
    """It follows C and has these events."""
    await client.subscribe(C)
    await until(client, lambda told: of(told, "reset") == [[C, 0]])
    await fake.publish(C, *range(1, events + 1))
    await _has(client, events)


async def _has(client: Subject, last: int) -> None:
    """It was told of every event of C up to the last, in order, each once."""
    told = await until(client, lambda told: last in numbers(told, C))
    assert numbers(told, C) == list(range(1, last + 1))
    assert all(entry[3] == entry[2] for entry in told if entry[0] == "event" and entry[1] == C)


async def test_events_come_as_they_happen(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    await client.subscribe(D)
    await until(client, lambda told: [D, 0] in of(told, "reset"))
    await fake.publish(D, {"amount": 5})
    await fake.publish(C, 3, 4)
    await _has(client, 4)
    told = await until(client, lambda told: numbers(told, D) == [1])
    assert ["event", D, 1, {"amount": 5}] in told
    await client.unsubscribe(D)
    await fake.publish(C, 5)
    await _has(client, 5)
    await eventually(lambda: fake.ops("unsubscribe"))
    assert [frame["channel"] for frame in fake.ops("unsubscribe")] == [D]


async def test_it_begins_where_it_is_told(client: Subject, fake: FakeRealtime) -> None:
    await fake.publish(C, *range(1, 11))
    await client.subscribe(C, fake.epoch, 4)
    told = await until(client, lambda told: 10 in numbers(told, C))
    assert numbers(told, C) == [5, 6, 7, 8, 9, 10]
    assert of(told, "reset") == []


@pytest.mark.parametrize("how", ["abort", "cut", "half-close", 1001, 1012, 4001, 4008, 4029])
async def test_it_goes_on_after_a_lost_connection(
    client: Subject, fake: FakeRealtime, proxy: Proxy, how: str | int
) -> None:
    await _following(client, fake)
    match how:
        case "abort":
            fake.abort()
        case "cut":
            proxy.cut()
        case "half-close":
            proxy.half_close(DOWN)
        case int():
            await fake.close(how, "BECAUSE")
    await fake.publish(C, 3, 4, 5, 6, 7, 8)
    await _has(client, 8)
    assert fake.ops("subscribe")[-1] | {"id": 0} == {
        "op": "subscribe",
        "id": 0,
        "channel": C,
        "epoch": fake.epoch,
        "seq": 2,
    }
    assert of(await client.told(), "reset") == [[C, 0]]


async def test_it_says_anew_who_it_is(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    await fake.close(4001, "TOKEN_EXPIRED")
    await fake.publish(C, 3)
    await _has(client, 3)
    assert len(set(fake.tokens)) == 2


async def test_what_comes_twice_is_dropped(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake, 5)
    await fake.tell_events(C, 4, 5)
    await fake.tell_events(C, 1, 2, 3)
    await fake.publish(C, 6)
    await _has(client, 6)


async def test_a_gap_is_asked_for_again(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    fake.channels[C] += [3, 4, 5]
    await fake.tell_events(C, 3, 5)  # the fourth is lost
    await _has(client, 5)
    assert [frame.get("seq") for frame in fake.ops("subscribe")] == [None, 3]


async def test_a_gap_that_stays_is_never_passed_over(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    fake.channels[C] += [3, 4, 5]
    fake.dumb = True
    await fake.tell_events(C, 3, 5)
    await until(client, lambda told: ["state", "waiting", "no answer"] in told)
    assert numbers(await client.told(), C) == [1, 2, 3]
    fake.dumb = False
    await _has(client, 5)


async def test_another_epoch_is_a_reset(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    fake.restore()
    fake.channels[C] = [1]
    await fake.close(4009, "EPOCH_CHANGED")
    told = await until(client, lambda told: len(of(told, "reset")) == 2)
    assert of(told, "reset") == [[C, 0], [C, 1]]
    await fake.publish(C, 2)
    told = await until(client, lambda told: len(numbers(told, C)) == 3)
    assert numbers(told, C) == [1, 2, 2]
    fake.abort()  # the new position counts from now on
    await fake.publish(C, 3)
    told = await until(client, lambda told: 3 in numbers(told, C))
    assert numbers(told, C) == [1, 2, 2, 3]


async def test_what_is_no_longer_kept_is_a_reset(client: Subject, fake: FakeRealtime) -> None:
    await fake.publish(C, *range(1, 11))
    fake.kept_from[C] = 6
    await client.subscribe(C, fake.epoch, 3)
    told = await until(client, lambda told: of(told, "reset"))
    assert (of(told, "reset"), numbers(told, C)) == ([[C, 10]], [])
    await fake.publish(C, 11)
    assert numbers(await until(client, lambda told: numbers(told, C)), C) == [11]


async def test_who_is_suspended_stops(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    await fake.close(4003, "USER_SUSPENDED")
    await until(client, lambda told: ["state", "closed", "USER_SUSPENDED"] in told)
    greeted = len(fake.tokens)
    await asyncio.sleep(0.3)
    assert len(fake.tokens) == greeted


async def test_rights_that_end(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    await client.subscribe(D)
    await until(client, lambda told: [D, 0] in of(told, "reset"))
    await fake.tell({"op": "revoked", "channel": D, "error": "NO_ACCESS_TO_STREAM"})
    told = await until(client, lambda told: of(told, "revoked"))
    assert of(told, "revoked") == [[D, "NO_ACCESS_TO_STREAM"]]
    fake.abort()
    await fake.publish(C, 3)
    await _has(client, 3)
    assert [frame["channel"] for frame in fake.ops("subscribe")] == [C, D, C]


async def test_refusals(client: Subject, fake: FakeRealtime) -> None:
    """One that passes is asked again, one that does not is told."""
    fake.errors[C] = [{"error": "RATE_LIMITED", "retry_after": 0.1}, {"error": "DATABASE_UNAVAILABLE"}]
    fake.errors[D] = [{"error": "NO_ACCESS_TO_CALL"}]
    await client.subscribe(D)
    await _following(client, fake)
    told = await client.told()
    assert of(told, "revoked") == [[D, "NO_ACCESS_TO_CALL"]]
    assert len(of(told, "reset")) == 1


async def test_it_cannot_say_who_it_is_for_a_while(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    await client.fail_tickets(3)
    fake.abort()
    await fake.publish(C, 3)
    await _has(client, 3)
    whys = [why for state, why in of(await client.told(), "state") if state == "waiting"]
    assert len([why for why in whys if "no way to get one" in why]) == 3


async def test_the_service_refuses_for_a_while(client: Subject, fake: FakeRealtime) -> None:
    fake.refusals = [(503, "DATABASE_UNAVAILABLE"), (429, "TOO_MANY_CONNECTIONS"), (401, "TOKEN_EXPIRED")]
    fake.greetings = [(4001, "INVALID_TICKET"), (4029, "TOO_MANY_CONNECTIONS")]
    fake.abort()  # it may have come before that
    await _following(client, fake)
    assert (fake.refusals, fake.greetings) == ([], [])


async def test_connections_that_do_not_come_about(client: Subject, fake: FakeRealtime, proxy: Proxy) -> None:
    await _following(client, fake)
    proxy.refuse(True)
    proxy.cut()
    await fake.publish(C, 3)
    await until(client, lambda told: [state for state, _ in of(told, "state")].count("waiting") >= 3)
    proxy.refuse(False)
    proxy.stall(DOWN)  # the socket opens, and nobody says anything
    await eventually(lambda: proxy.links)
    await until(client, lambda told: of(told, "state")[-1][0] == "waiting")
    proxy.flow()
    await _has(client, 3)


@pytest.mark.parametrize("direction", ["up", "down"])
async def test_silence_is_a_lost_connection(client: Subject, fake: FakeRealtime, proxy: Proxy, direction: str) -> None:
    """Half-open: nobody says that it is over."""
    await _following(client, fake)
    proxy.stall(UP if direction == "up" else DOWN)
    await fake.publish(C, 3)
    await until(client, lambda told: [state for state, _ in of(told, "state")].count("waiting") >= 1)
    proxy.flow()
    await _has(client, 3)


async def test_it_prolongs_its_stay(client: Subject, fake: FakeRealtime) -> None:
    """Before the token ends, and without an interruption."""
    fake.lives_seconds = 4
    fake.abort()  # it may have come before that
    await _following(client, fake)
    known, asked = set(fake.tokens), len(fake.ops("subscribe"))
    await eventually(lambda: set(fake.tokens) > known)
    await fake.publish(C, 3)
    await _has(client, 3)
    assert len(fake.ops("subscribe")) == asked, "it was interrupted"


async def test_presence(client: Subject, fake: FakeRealtime) -> None:
    await _following(client, fake)
    await client.presence(C)
    await eventually(lambda: len(fake.ops("presence")) == 3)  # again and again
    await fake.tell({"op": "presence", "channel": C, "viewers": 7, "joined": [], "left": []})
    await until(client, lambda told: of(told, "presence") == [[C, 7]])
    await client.presence(C, leave=True)
    await eventually(lambda: fake.ops("presence")[-1].get("leave"))
    said = len(fake.ops("presence"))
    await asyncio.sleep(1.5)
    assert len(fake.ops("presence")) == said


@needs_browser
async def test_the_page_remembers(fake: FakeRealtime, browser: Browser) -> None:
    """With a storage, positions outlive the page; a handler that throws stops nothing."""
    client = await BrowserSubject.start(browser, f"{fake.url}/page?keep", f"{fake.url}{PATH}")
    await _following(client, fake)
    await client.page.go(f"{fake.url}/page")
    await fake.publish(C, 3, 4)
    await client.page.go(f"{fake.url}/page?keep")
    await client.connect(f"{fake.url}{PATH}")
    await client.subscribe(C)
    told = await until(client, lambda told: 4 in numbers(told, C))
    assert (numbers(told, C), of(told, "reset")) == ([3, 4], [])
    await client.page.run("void realtime.subscribe('stream:x', { onReset() { throw new Error('mine'); } })")
    await fake.publish(C, 5)
    await until(client, lambda told: 5 in numbers(told, C))
    await client.close()


@needs_browser
async def test_online_again_connects_at_once(fake: FakeRealtime, browser: Browser) -> None:
    client = await BrowserSubject.start(browser, f"{fake.url}/page", f"{fake.url}{PATH}")
    await _following(client, fake)
    # from now on it would wait for an hour
    await client.page.run("void Object.assign(realtime.timing, { pause: 7200000, longestPause: 7200000 })")
    fake.abort()
    await until(client, lambda told: of(told, "state")[-1][0] == "waiting")
    await client.page.offline(True)
    await fake.publish(C, 3)
    await client.page.offline(False)
    await _has(client, 3)
    await client.close()


async def test_a_token_that_cannot_be_renewed(fake: FakeRealtime) -> None:
    fake.refusals = [(401, "INVALID_TOKEN")]
    async with RealtimeClient(fake.url, "fixed") as client:
        with pytest.raises(RealtimeError, match="INVALID_TOKEN: invalid_token"):
            await anext(client)
        with pytest.raises(StopAsyncIteration):
            await anext(client)
    fake.refusals = [(403, "INSUFFICIENT_SCOPE")]
    async with RealtimeClient(fake.url, "fixed") as client:
        with pytest.raises(RealtimeError) as caught:
            await anext(client)
        assert caught.value.slug == "INSUFFICIENT_SCOPE"
    fake.greetings = [(4001, "TOKEN_EXPIRED")]
    async with RealtimeClient(fake.url, "fixed") as client:
        with pytest.raises(RealtimeError, match="TOKEN_EXPIRED"):
            await anext(client)
    assert set(fake.tokens) == {"fixed"}


async def test_from_the_start(fake: FakeRealtime) -> None:
    """A position without an epoch is one of the present epoch."""
    await fake.publish(C, *range(1, 6))
    async with RealtimeClient(fake.url, "fixed") as client:
        await client.subscribe(C, Position(None, 0))
        found = [await anext(client) for _ in range(5)]
        assert [message.seq for message in found if isinstance(message, Event)] == [1, 2, 3, 4, 5]
        fake.kept_from[C] = 3
        await client.subscribe(C, Position(None, 0))
        assert await anext(client) == Reset(C, fake.epoch, 5)


async def test_waiting_may_be_given_up_at_any_time(fake: FakeRealtime, proxy: Proxy) -> None:
    """Whatever it was in the middle of, it goes on there."""
    events: list[int] = []
    async with RealtimeClient(f"http://127.0.0.1:{proxy.port}", "fixed", pause_seconds=(0.01, 0.05)) as client:
        await client.subscribe(C, Position(fake.epoch, 0))
        waited = 0
        async with asyncio.timeout(SECONDS):
            while len(events) < 300:
                waited += 1
                try:
                    message = await asyncio.wait_for(anext(client), 0.0005 * (waited % 9))
                except TimeoutError:
                    await fake.publish(C, *[0] * 3)
                    if waited % 10 == 0:
                        proxy.cut()
                else:
                    assert isinstance(message, Event)
                    events.append(message.seq)
    assert events == list(range(1, 301))


async def test_closing_ends_a_wait(fake: FakeRealtime, proxy: Proxy) -> None:
    proxy.refuse(True)
    client = RealtimeClient(f"http://127.0.0.1:{proxy.port}", "fixed", pause_seconds=(3600, 3600))
    waiting = asyncio.ensure_future(anext(client, None))
    await asyncio.sleep(0.1)
    await client.close()
    assert await asyncio.wait_for(waiting, SECONDS) is None


def test_the_socket_of_a_service() -> None:
    assert socket_url("https://api.example") == "wss://api.example/api/v1/realtime"
    assert socket_url("http://127.0.0.1:8000/") == "ws://127.0.0.1:8000/api/v1/realtime"
    assert socket_url("wss://a/api/v1/realtime?x=1") == "wss://a/api/v1/realtime"
    assert socket_url("https://a/behind") == "wss://a/behind/api/v1/realtime"


def test_the_script_is_small() -> None:
    assert len(SCRIPT) < 12_000
    assert b"eval(" not in SCRIPT
    assert msgspec.json.encode(SCRIPT.decode())  # valid UTF-8
