"""Every event: its name, what it holds, whom it reaches, when it is written.

A new type of event: a struct here (or the API's own, made strict) and an entry of ``EVENTS``; then ``./run asyncapi``.
tests/contract/test_events.py compares the names with what the SQL functions write, and after each test with a database
the harness decodes every event that was written, strictly, and looks at its channels.

Amounts are whole numbers of the asset's minor unit; times are RFC 3339. A payload never says more than everybody in its
channels may know.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.admin.structs import Adjustment
from app.calls.structs import Call
from app.payments.providers.protocol import Kind as FactKind
from app.payments.providers.protocol import ProviderName
from app.payments.structs import Payment
from app.streams.structs import Stream

CHANNELS: Mapping[str, str] = {
    "user": "What concerns one user: wallet, holds, tickets, calls. Only that user may follow it.",
    "creator": "What a creator's dashboard shows: tips, tickets, streams. Only that creator may follow it.",
    "stream": "A stream: whoever may watch it may follow it.",
    "call": "A call: its two people may follow it.",
    "ops": "What operators should see. One channel, without an id; operators and admins may follow it.",
}
"""Kinds of channels. All but `ops` are followed by a colon and an id."""
NO_ID = {"ops"}

Minor = Annotated[int, Meta(description="Minor units of the asset.")]
Tokens = Annotated[int, Meta(description="Tokens.")]
WalletAsset = Annotated[str, Meta(description="Code of the asset.", examples=["TOKEN"])]
Kind = Annotated[str, Meta(description="What for: `transfer`, `grant`, `reward`, `adjustment`…")]
TheReference = Annotated[str | None, Meta(description="What the caller wrote beside it.")]


class WalletChanged(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A wallet as it is now."""

    wallet_id: UUID
    asset: WalletAsset
    balance: Minor
    held: Annotated[int, Meta(description="Part of the balance that open holds set aside.")]
    spendable: Annotated[int, Meta(description="Balance less held less minimum; negative while there is a debt.")]
    version: Annotated[int, Meta(description="`seq` of the wallet's last entry; holds and minimum leave it as it is.")]
    change: Annotated[
        int,
        Meta(
            description="What the balance went up by, over the whole batch; 0: only held or minimum is another, or as"
            " much went as came."
        ),
    ]


class WalletStatus(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A wallet that an operator froze, unfroze or closed."""

    wallet_id: UUID
    owner_id: Annotated[UUID | None, Meta(description="Null: the system's own.")]
    asset: WalletAsset
    status: Annotated[
        Literal["active", "debits_frozen", "frozen", "closed"],
        Meta(description="`debits_frozen`: it still takes money; `frozen`: neither."),
    ]
    status_before: Literal["active", "debits_frozen", "frozen"]


class TransferPosted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A movement between two wallets. It names no balance, for both sides get it."""

    transfer_id: UUID
    from_wallet_id: UUID
    to_wallet_id: UUID
    amount: Minor
    asset: WalletAsset
    kind: Kind
    reference: TheReference
    created_at: datetime


class TransferRefunded(TransferPosted, kw_only=True, forbid_unknown_fields=True):
    """A movement that gives back another, whole or in part."""

    original_id: Annotated[UUID, Meta(description="The transfer that is given back.")]


class Hold(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A hold as it is now. What is still set aside is amount less captured less released."""

    hold_id: UUID
    wallet_id: UUID
    asset: WalletAsset
    status: Literal["open", "captured", "released", "expired"]
    amount: Annotated[int, Meta(description="What was set aside, minor units.")]
    captured: Annotated[int, Meta(description="Of that, what was paid out.")]
    released: Annotated[int, Meta(description="Of that, what was given back.")]
    kind: Kind
    reference: TheReference
    expires_at: datetime


class HoldCaptured(Hold, kw_only=True, forbid_unknown_fields=True):
    """A hold, and what it has just paid."""

    transfer_id: UUID
    paid: Annotated[int, Meta(description="Amount of this transfer.")]


class PayoutState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A payout as it is now."""

    payout_id: UUID
    user_id: UUID
    status: Literal["requested", "held", "processing", "paid", "failed", "cancelled"]
    reason: Annotated[str | None, Meta(description="Why it is held, failed or was cancelled: a code.")]
    amount: Tokens
    currency: str
    payout_amount: Annotated[int, Meta(description="What is sent, in ten-thousandths of the currency.")]
    provider: Literal["stripe", "paystack", "manual"]
    expected_at: Annotated[datetime, Meta(description="When to expect the money.")]


class TipSent(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A tip."""

    tip_id: Annotated[UUID, Meta(description="The transfer to the creator has the same id.")]
    sender_id: UUID
    sender_name: Annotated[str, Meta(description="The sender's username.")]
    creator_id: UUID
    amount: Annotated[int, Meta(description="Tokens, as sent; the platform's fee is not taken off.")]
    message: str | None
    stream_id: Annotated[UUID | None, Meta(description="The stream it was sent in.")]
    call_id: Annotated[UUID | None, Meta(description="The call it was sent in.")]
    created_at: datetime


class TicketSold(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A ticket."""

    ticket_id: UUID
    stream_id: UUID
    creator_id: UUID
    viewer_id: UUID
    price: Tokens
    created_at: datetime


class TicketRefunded(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A ticket that is none any more; its price is back in the viewer's wallet."""

    ticket_id: UUID
    stream_id: UUID
    creator_id: UUID
    viewer_id: UUID
    price: Annotated[int, Meta(description="Tokens that came back, fee included; 0 of a free ticket.")]
    reason: str
    refunded_at: datetime


class PaymentState(Payment, kw_only=True, forbid_unknown_fields=True):
    """A payment as it is now, as `GET /payments/{id}` has it, and the transfer that gave its tokens."""

    transfer_id: Annotated[UUID | None, Meta(description="Null until it is paid.")]


class PaymentEventOpened(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Something that a payment provider tells and nothing can be made of: `GET /admin/payments/events?open=true`."""

    provider: ProviderName
    event_id: str
    kind: FactKind
    outcome: Literal["unknown", "mismatch", "duplicate", "contradiction", "refused"]
    error: Annotated[str | None, Meta(description="Why the ledger refused it.")]
    payment_id: Annotated[UUID | None, Meta(description="Null where it is not known.")]
    amount: Annotated[int | None, Meta(description="What the provider tells, in the minor unit of `currency`.")]
    currency: str | None


class StreamState(Stream, kw_only=True, forbid_unknown_fields=True):
    """A stream as it is now, as `GET /streams/{id}` has it."""


class StreamViewers(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """How many watch a stream."""

    stream_id: UUID
    viewers: int
    peak_viewers: Annotated[int, Meta(description="The most there were at any count.")]
    counted_at: datetime


class ChatMessagePosted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A message in the chat of a stream."""

    message_id: UUID
    stream_id: UUID
    user_id: Annotated[UUID, Meta(description="Who wrote it.")]
    username: str
    body: str
    created_at: datetime


class ChatMessageRemoved(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A message to take off the screen."""

    message_id: UUID
    stream_id: UUID
    removed_by: Annotated[UUID | None, Meta(description="Null: by somebody at the database.")]


class UserBanned(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Somebody who may not chat in a creator's streams or call them any more."""

    creator_id: UUID
    user_id: Annotated[UUID, Meta(description="Who is banned.")]
    reason: str | None


class UserUnbanned(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Somebody who may again."""

    creator_id: UUID
    user_id: Annotated[UUID, Meta(description="Who is banned no more.")]


class CallState(Call, kw_only=True, forbid_unknown_fields=True):
    """A call as it is now, as `GET /calls/{id}` has it."""


class CallBlockPaid(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A block that is paid and begins."""

    call_id: UUID
    block_no: Annotated[int, Meta(description="From 0.")]
    price: Tokens
    transfer_id: UUID
    paid_at: datetime


class CallLowBalance(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A call that will soon end for want of tokens."""

    call_id: UUID
    blocks_left: Annotated[int, Meta(description="How many more blocks the fan can pay.")]
    block_price: Tokens


class CallRefundRefused(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Calls whose blocks should have been given back and could not be: somebody has to see to it."""

    calls: list[UUID]
    refused: Annotated[list[dict[str, Any]], Meta(description="What stood against each refund: `error` and its facts.")]


class AdjustmentState(Adjustment, kw_only=True, forbid_unknown_fields=True):
    """An adjustment as it is now, as `GET /admin/adjustments` has it."""


class AuditFailed(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Books that do not balance."""

    audit_id: UUID
    violations: Annotated[int, Meta(description="How many there are; `GET /admin/ledger/audit` lists them.")]
    rules: Annotated[dict[str, int], Meta(description="How often which rule is broken.")]
    started_at: datetime


class JobState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A job of the scheduler after its newest run."""

    job: str
    outcome: Annotated[Literal["done", "failed", "timeout"], Meta(description="Of the newest run.")]
    failures_in_a_row: Annotated[int, Meta(description="With `job.recovered`: how many there had been.")]
    last_error: Annotated[str | None, Meta(description="Class, SQLSTATE and slug of the newest failure.")]
    last_success_at: datetime | None
    finished_at: datetime


class WebhookDisabled(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A webhook endpoint to which nothing is sent any more."""

    endpoint_id: UUID
    url: str
    description: str
    reason: Annotated[
        Literal["gone", "failing"], Meta(description="It answered 410, or failed too often for too long.")
    ]
    disabled_at: datetime


class EventSpec(msgspec.Struct, frozen=True):
    """A type of event."""

    name: str
    struct: type[msgspec.Struct]
    channels: Mapping[str, str]
    """Kinds of channels (keys of CHANNELS) that it may go to, and whose."""
    when: str
    """One sentence."""


_PARTIES = {"call": "the call", "user": "the fan, and the creator"}
_OF_STREAM = {"stream": "the stream", "creator": "its creator"}
_OWNER = {"user": "the wallet's owner"}
_BOTH = {"user": "the payer, and the payee"}
_OPS = {"ops": "operators"}
_BUYER = {"user": "the buyer"}
_PAID = {"user": "who is paid", "creator": "the same, where they are a creator"}

_SPECS = (
    EventSpec(
        "wallet.changed",
        WalletChanged,
        _OWNER,
        "A user's balance, held amount or minimum is another: once a wallet for each batch of transfers, with what the "
        "batch left.",
    ),
    EventSpec("wallet.frozen", WalletStatus, {**_OWNER, **_OPS}, "An operator froze a wallet."),
    EventSpec("wallet.unfrozen", WalletStatus, {**_OWNER, **_OPS}, "An operator freed a wallet."),
    EventSpec("wallet.closed", WalletStatus, {**_OWNER, **_OPS}, "An operator closed a wallet."),
    EventSpec(
        "transfer.posted",
        TransferPosted,
        _BOTH,
        "Money moved that no other event tells of: a transfer, a grant, a reward, a capture, a journal, an adjustment.",
    ),
    EventSpec(
        "transfer.refunded",
        TransferRefunded,
        _BOTH,
        "A transfer was given back, by an operator, with a cancelled stream, for blocks of a call not seen, or since "
        "its payment was refunded or disputed.",
    ),
    EventSpec("hold.placed", Hold, _OWNER, "An amount was set aside."),
    EventSpec("hold.captured", HoldCaptured, _OWNER, "A hold paid, whole or in part."),
    EventSpec("hold.released", Hold, _OWNER, "What was left of a hold was given back."),
    EventSpec(
        "hold.expired",
        Hold,
        _OWNER,
        "A hold's time was up and somebody has noticed: the scheduler, or whoever spends from the wallet.",
    ),
    EventSpec(
        "tip.sent",
        TipSent,
        {
            "creator": "who got it",
            "user": "who sent it",
            "stream": "where it was sent, if in a stream",
            "call": "where it was sent, if in a call",
        },
        "A tip was paid.",
    ),
    EventSpec("ticket.sold", TicketSold, {**_OF_STREAM, "user": "the viewer"}, "A ticket was bought, or taken free."),
    EventSpec(
        "ticket.refunded",
        TicketRefunded,
        {"user": "the viewer", "creator": "the stream's creator"},
        "The stream was cancelled, so its ticket was given back.",
    ),
    EventSpec("stream.created", StreamState, _OF_STREAM, "A stream was announced."),
    EventSpec("stream.updated", StreamState, _OF_STREAM, "Its title, price, seats or times are others."),
    EventSpec("stream.started", StreamState, _OF_STREAM, "It is live."),
    EventSpec("stream.ended", StreamState, _OF_STREAM, "It is over."),
    EventSpec("stream.cancelled", StreamState, _OF_STREAM, "It will not be, or broke off; tickets are given back."),
    EventSpec(
        "stream.viewers",
        StreamViewers,
        {"stream": "the stream"},
        "The number of viewers is another; counted every 5 seconds.",
    ),
    EventSpec("chat.message", ChatMessagePosted, {"stream": "the stream"}, "Somebody wrote in the chat."),
    EventSpec(
        "chat.message_removed",
        ChatMessageRemoved,
        {"stream": "the stream"},
        "A message was removed by its author, the creator or a moderator.",
    ),
    EventSpec("user.banned", UserBanned, {"creator": "who banned"}, "A creator banned somebody."),
    EventSpec("user.unbanned", UserUnbanned, {"creator": "who banned"}, "A creator took a ban back."),
    EventSpec("payment.paid", PaymentState, _BUYER, "The money is there, and with it the tokens."),
    EventSpec("payment.failed", PaymentState, _BUYER, "It was declined, or not paid in time; `failure` says which."),
    EventSpec("payment.refunded", PaymentState, _BUYER, "Money went back, and tokens with it, in whole or in part."),
    EventSpec("payment.disputed", PaymentState, _BUYER, "Its money is disputed: the tokens are taken back."),
    EventSpec("payment.restored", PaymentState, _BUYER, "A refund failed or a dispute was won: the tokens are back."),
    EventSpec(
        "payment.event_opened",
        PaymentEventOpened,
        _OPS,
        "A provider tells something of a payment that a person has to look at; `outcome` says why.",
    ),
    EventSpec("call.ringing", CallState, _PARTIES, "A fan calls."),
    EventSpec("call.accepted", CallState, _PARTIES, "The creator answered; the clock runs."),
    EventSpec("call.declined", CallState, _PARTIES, "The creator will not, or the fan hung up before an answer."),
    EventSpec("call.missed", CallState, _PARTIES, "Nobody answered in time."),
    EventSpec("call.paused", CallState, _PARTIES, "The clock stands."),
    EventSpec("call.resumed", CallState, _PARTIES, "The clock runs again."),
    EventSpec("call.ended", CallState, _PARTIES, "It is over; `end_reason` says why."),
    EventSpec("call.block_paid", CallBlockPaid, {"call": "the call"}, "A block was paid, before it begins."),
    EventSpec(
        "call.low_balance",
        CallLowBalance,
        _PARTIES,
        "The fan can pay for few more blocks (rate `call_low_balance`); once, until there are more again.",
    ),
    EventSpec(
        "call.refund_refused",
        CallRefundRefused,
        _OPS,
        "Blocks of a call that was not seen could not be given back (a wallet is frozen).",
    ),
    EventSpec(
        "webhook.disabled",
        WebhookDisabled,
        {"user": "whose endpoint it is"},
        "A webhook endpoint was disabled because it answered 410 or kept failing.",
    ),
    EventSpec("payout.requested", PayoutState, _PAID, "A payout was asked for, or an operator let it pass."),
    EventSpec(
        "payout.held",
        PayoutState,
        {**_PAID, "ops": "operators"},
        "It waits for an operator; `reason` says why.",
    ),
    EventSpec("payout.processing", PayoutState, _PAID, "Its tokens have left the wallet, and the provider is told."),
    EventSpec("payout.paid", PayoutState, _PAID, "The money has arrived."),
    EventSpec("payout.failed", PayoutState, _PAID, "It will not arrive, or came back; the tokens are given back."),
    EventSpec("payout.cancelled", PayoutState, _PAID, "Taken back, or not sent in time; the tokens are free again."),
    EventSpec("adjustment.requested", AdjustmentState, _OPS, "Somebody asked for a movement by hand."),
    EventSpec("adjustment.approved", AdjustmentState, _OPS, "Somebody else approved it, and the money moved."),
    EventSpec("adjustment.rejected", AdjustmentState, _OPS, "It will not be made."),
    EventSpec("audit.failed", AuditFailed, _OPS, "The auditor found something; each time it looks until it is mended."),
    EventSpec("job.failed", JobState, _OPS, "A job of the scheduler failed for the third time in a row."),
    EventSpec("job.recovered", JobState, _OPS, "It succeeded, after three failures or more."),
)
EVENTS: Mapping[str, EventSpec] = {spec.name: spec for spec in _SPECS}
"""All types of events by name: `<noun>.<past participle>`, but for those that tell of a state."""
