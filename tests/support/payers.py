"""A Stripe and a Paystack of our own: they speak the part of the HTTP interfaces that payouts use, over a real socket.

From their documentation. Each keeps what it was told; ``faults`` says what goes wrong with the next requests that
change something: the answer is lost after the work was done (``lost``), or before (``dropped``), comes late (``late``),
or is an error (a status); or nothing does (``none``).
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import msgspec

from app.settings import Settings

STRIPE_KEY = "sk_test_of_the_tests"
PAYSTACK_KEY = "sk_test_of_the_other_tests"
ENCRYPTION_KEY = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
Fault = Literal["lost", "dropped", "late", "none"] | int
Answer = tuple[int, dict[str, Any]]


class Payers:
    """Both, at one address."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.faults: list[Fault] = []
        self.lose = 0.0
        """Share of all requests whose answer is lost, or which are dropped."""
        self.late_seconds = 3.0
        self.slow_seconds = 0.0
        """How long it takes to answer anything."""
        self.in_flight = 0
        """Requests that are being answered."""
        self.requests: list[tuple[str, str]] = []
        self.arrives: Literal["pending", "paid", "failed"] = "paid"
        """What becomes of payouts that are made from now on."""
        self.refuses: str | None = None
        """The code with which the next ones are refused."""
        self.tells_nothing = False
        """Stripe refuses to list transfers."""
        self.transfers: dict[str, dict[str, Any]] = {}
        self.payouts: dict[str, dict[str, Any]] = {}
        self.paystack: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, Answer] = {}
        self._random = random.Random(6)  # noqa: S311 (no secret)

    def settings(self, base: Settings, **changes: Any) -> Settings:
        """These settings, with these payers in them."""
        fields = {
            "stripe_url": self.url,
            "stripe_secret_key": STRIPE_KEY,
            "paystack_url": self.url,
            "paystack_secret_key": PAYSTACK_KEY,
            "encryption_key": ENCRYPTION_KEY,
            "payout_timeout_seconds": 2,
            "payout_retry_seconds": 1,
        } | changes
        return msgspec.structs.replace(base, **fields)

    def environment(self) -> dict[str, str]:
        """The same for a process."""
        made = self.settings(Settings())
        names = ("stripe_url", "stripe_secret_key", "paystack_url", "paystack_secret_key", "encryption_key")
        more = {f"TESSERA_{name.upper()}": str(getattr(made, name)) for name in names}
        # Stripe's settings are of use together only
        more["TESSERA_STRIPE_WEBHOOK_SECRETS"] = "whsec_of_the_tests"
        return more | {"TESSERA_PAYOUT_TIMEOUT_SECONDS": "1", "TESSERA_PAYOUT_RETRY_SECONDS": "1"}

    def paid(self, payout: Any) -> int:
        """How many times this payout's money went out and stayed out, whoever paid."""
        stripe = [p for p in self.payouts.values() if p["metadata"].get("payout_id") == str(payout)]
        count = sum(p["status"] in ("paid", "pending", "in_transit") for p in stripe)
        return count + sum(t["status"] in ("success", "pending") for r, t in self.paystack.items() if r == str(payout))

    def turn(self, status: str) -> None:
        """What was paid, or is pending, becomes something else."""
        for stripe in self.payouts.values():
            stripe["status"] = status
        for other in self.paystack.values():
            other["status"] = {"failed": "reversed", "paid": "success"}.get(status, status)

    # The interfaces

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """One request."""
        path, query = urlsplit(target).path, dict(parse_qsl(urlsplit(target).query))
        key = headers.get("authorization", "").removeprefix("Bearer ")
        if path.startswith("/v1/"):
            if key != STRIPE_KEY:
                return 401, {"error": {"type": "invalid_request_error", "message": "no such key"}}
            form = dict(parse_qsl(body.decode()))
            return self._stripe(method, path, query, form, headers)
        if key != PAYSTACK_KEY:
            return 401, {"status": False, "message": "Invalid key"}
        return self._paystack(method, path, json.loads(body or b"{}"))

    def _stripe(
        self, method: str, path: str, query: dict[str, str], form: dict[str, str], headers: dict[str, str]
    ) -> Answer:
        if method == "GET":
            return self._stripe_reads(path, query, headers.get("stripe-account"))
        key = f"{headers.get('stripe-account', '')}/{headers['idempotency-key']}"
        if key not in self._keys:
            self._keys[key] = self._stripe_writes(path, form, headers.get("stripe-account"))
        return self._keys[key]

    def _stripe_reads(self, path: str, query: dict[str, str], account: str | None) -> Answer:
        if path == "/v1/transfers" and self.tells_nothing:
            return 400, {"error": {"type": "invalid_request_error", "code": "api_version"}}
        if path == "/v1/transfers":
            rows = [t for t in self.transfers.values() if t["transfer_group"] == query["transfer_group"]]
        elif path == "/v1/payouts":
            rows = [p for p in self.payouts.values() if p["account"] == account]
        else:
            found = self.payouts.get(path.rpartition("/")[2])
            return (200, found) if found else (404, {"error": {"code": "resource_missing"}})
        return 200, {"object": "list", "data": rows, "has_more": False}

    def _stripe_writes(self, path: str, form: dict[str, str], account: str | None) -> Answer:
        if path.endswith("/reversals"):
            self.transfers[path.split("/")[3]]["reversed"] = True
            return 200, {"id": "trr_1", "object": "transfer_reversal"}
        if path == "/v1/transfers":
            if self.refuses == "balance_insufficient":
                return 400, {"error": {"type": "invalid_request_error", "code": self.refuses}}
            row: dict[str, Any] = {
                "id": f"tr_{len(self.transfers) + 1}",
                "amount": int(form["amount"]),
                "currency": form["currency"],
                "destination": form["destination"],
                "transfer_group": form["transfer_group"],
                "reversed": False,
            }
            self.transfers[row["id"]] = row
            return 200, row
        if self.refuses:
            return 400, {"error": {"type": "invalid_request_error", "code": self.refuses}}
        row = {
            "id": f"po_{len(self.payouts) + 1}",
            "amount": int(form["amount"]),
            "currency": form["currency"],
            "status": self.arrives,
            "failure_code": "account_closed" if self.arrives == "failed" else None,
            "metadata": {"payout_id": form["metadata[payout_id]"]},
            "account": account,
        }
        self.payouts[row["id"]] = row
        return 200, row

    def _paystack(self, method: str, path: str, body: dict[str, Any]) -> Answer:
        if path == "/transferrecipient":
            if self.refuses == "account":
                return 400, {"status": False, "message": "Account number is invalid"}
            return 201, {"status": True, "data": {"recipient_code": f"RCP_{body['account_number']}"}}
        if method == "GET":
            found = self.paystack.get(path.rpartition("/")[2])
            return (200, {"status": True, "data": found}) if found else (404, {"status": False, "message": "not found"})
        if body["reference"] in self.paystack:
            return 400, {"status": False, "message": "Please provide a unique reference"}
        if self.refuses:
            message = "Your balance is not enough" if self.refuses == "balance" else self.refuses
            return 400, {"status": False, "message": message}
        made = {
            "reference": body["reference"],
            "transfer_code": f"TRF_{len(self.paystack) + 1}",
            "amount": body["amount"],
            "currency": body["currency"],
            "status": {"paid": "success"}.get(self.arrives, self.arrives),
        }
        self.paystack[body["reference"]] = made
        return 200, {"status": True, "data": made}

    def next_fault(self, method: str) -> Fault | None:
        """What goes wrong with this request."""
        if method == "POST" and self.faults:
            return self.faults.pop(0)
        if self.lose and self._random.random() < self.lose:
            return self._random.choice(("lost", "dropped"))
        return None


@asynccontextmanager
async def payers_at_work() -> AsyncIterator[Payers]:
    """Both, serving on loopback until they are left."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            method, target = head[0].split(" ")[:2]
            fault = payers.next_fault(method)
            payers.requests.append((method, urlsplit(target).path))
            payers.in_flight += 1
            await asyncio.sleep(payers.slow_seconds / 2)
            if fault != "dropped":
                status, answer = payers.answer(method, target, headers, body)
                if isinstance(fault, int):
                    status, answer = fault, {"error": {"message": "later"}}
                await asyncio.sleep(payers.slow_seconds / 2)
                if fault == "late":
                    await asyncio.sleep(payers.late_seconds)
                if fault != "lost":
                    text = json.dumps(answer).encode()
                    writer.write(
                        f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
                        "Connection: close\r\n\r\n".encode()
                        + text
                    )
                    await writer.drain()
            payers.in_flight -= 1
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    payers = Payers(server.sockets[0].getsockname()[1])
    try:
        yield payers
    finally:
        server.close()
