"""The pages there are: the sandbox's, those after a checkout, and receipts. No scripts, nothing from elsewhere."""

from __future__ import annotations

from html import escape

from app.core.currencies import THOUSANDTHS, WHOLE_CURRENCIES
from app.payments.structs import Payment

CSP = b"default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
"""Of every page here."""
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem; color: #1b1b1f }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .4rem 0 }
tr { border-bottom: 1px solid #ddd }
td { text-align: right } button { font: inherit; padding: .6rem 1.2rem; margin-right: 1rem; cursor: pointer }
.note { color: #666; font-size: .875rem } @media print { body { margin: 0 } }
"""


def money(amount: int, currency: str) -> str:
    """An amount for people: ``19.00 USD``."""
    if currency in WHOLE_CURRENCIES:
        return f"{amount} {currency}"
    if currency in THOUSANDTHS:
        return f"{amount // 1000}.{amount % 1000:03} {currency}"
    return f"{amount // 100}.{amount % 100:02} {currency}"


def _page(title: str, body: str) -> str:
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}</style></head><body>{body}</body></html>"
    )


def _rows(rows: list[tuple[str, str]]) -> str:
    return "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)


def sandbox(payment: Payment, seal: str) -> str:
    """Where a developer pays, or does not."""
    rows = _rows([("Tokens", str(payment.tokens)), ("Price", money(payment.amount, payment.currency))])
    if payment.status != "pending":
        return notice("Sandbox", f"This payment is {payment.status}.")
    action = f"/api/v1/public/sandbox/{payment.payment_id}"
    forms = "".join(
        f'<form method="post" action="{action}/{what}?seal={escape(seal)}" style="display: inline">'
        f"<button>{word}</button></form>"
        for what, word in (("pay", "Pay"), ("fail", "Decline"))
    )
    note = '<p class="note">No money moves here: this is the sandbox of a development machine.</p>'
    return _page("Sandbox", f"<h1>Sandbox</h1><table>{rows}</table><p>{forms}</p>{note}")


def notice(title: str, words: str, link: str | None = None) -> str:
    """A page that says one thing."""
    back = "" if link is None else f'<p><a href="{escape(link)}">Go back</a></p>'
    return _page(title, f"<h1>{escape(title)}</h1><p>{escape(words)}</p>{back}")


def receipt(payment: Payment, name: str, email: str, seller: str) -> str:
    """What was bought, for whom, for how much; on paper it looks the same."""
    day = payment.paid_at or payment.created_at
    rows = [
        ("Receipt", str(payment.payment_id)),
        ("Date", f"{day:%Y-%m-%d %H:%M} UTC"),
        ("For", f"{name} ({email})"),
        ("Tokens", str(payment.tokens)),
        ("Paid by", payment.provider),
        ("Status", payment.status),
        ("Amount", money(payment.amount, payment.currency)),
    ]
    given_back = min(payment.refunded, payment.amount)
    if given_back:
        rows += [
            ("Refunded", f"-{money(given_back, payment.currency)}"),
            ("Total", money(payment.amount - given_back, payment.currency)),
        ]
    title = f"Receipt {payment.payment_id}"
    return _page(title, f'<h1>Receipt</h1><table>{_rows(rows)}</table><p class="note">{escape(seller)}</p>')
