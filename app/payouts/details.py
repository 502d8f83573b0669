"""Where money can go: what each provider needs to know, how it is shown, and how it is encrypted.

The text that is encrypted is the struct as JSON; nothing but its mask leaves this service but to the provider, and, for
payouts by hand, to the operator who pays them.
"""

from __future__ import annotations

from typing import Annotated, Literal
from uuid import UUID

import msgspec
from msgspec import Meta

from app.core.vault import Sealed, Vault

Provider = Literal["stripe", "paystack", "manual"]
Currency = Annotated[str, Meta(pattern=r"^[A-Z]{3}$", examples=["USD"])]
Words = Annotated[str, Meta(min_length=1, max_length=140, pattern=r"^[^\x00-\x1f\x7f]+$", examples=["Ada Obi"])]


class StripeDetails(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A connected account of Stripe, whose onboarding is done."""

    account: Annotated[str, Meta(pattern=r"^acct_[A-Za-z0-9]{8,64}$", examples=["acct_1MTfjCQ9PRzxEwkZ"])]

    @property
    def masked(self) -> str:
        """What is shown."""
        return f"acct_••••{self.account[-4:]}"


class PaystackDetails(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A bank account or mobile wallet that Paystack can pay."""

    kind: Literal["nuban", "ghipss", "mobile_money", "basa", "kepss"] = "nuban"
    holder: Words
    bank_code: Annotated[str, Meta(pattern=r"^[A-Za-z0-9]{2,20}$", examples=["058"])]
    number: Annotated[str, Meta(pattern=r"^[0-9]{6,20}$", examples=["0123456789"])]

    @property
    def masked(self) -> str:
        """What is shown."""
        return f"{self.bank_code} ••••{self.number[-4:]}"


class BankDetails(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A bank account that an operator pays by hand."""

    holder: Words
    number: Annotated[
        str,
        Meta(pattern=r"^[A-Z0-9]{5,34}$", description="IBAN or account number.", examples=["DE89370400440532013000"]),
    ]
    bank: (
        Annotated[
            str, Meta(pattern=r"^[A-Z0-9]{3,34}$", description="BIC or routing number.", examples=["COBADEFFXXX"])
        ]
        | None
    ) = None

    @property
    def masked(self) -> str:
        """What is shown."""
        return f"••••{self.number[-4:]}"


Details = StripeDetails | PaystackDetails | BankDetails
FORMS: dict[str, type[Details]] = {"stripe": StripeDetails, "paystack": PaystackDetails, "manual": BankDetails}


def _about(account: UUID, user: UUID, provider: str) -> str:
    return f"payout-account:{account}:{user}:{provider}"


def seal_details(vault: Vault, account: UUID, user: UUID, provider: str, details: Details) -> Sealed:
    """Encrypt. Errors: ENCRYPTION_NOT_CONFIGURED."""
    return vault.seal(msgspec.json.encode(details), _about(account, user, provider))


def open_details(vault: Vault, sealed: Sealed, account: UUID, user: UUID, provider: str) -> Details:
    """Decrypt. Raises VaultError."""
    form: type[Details] = FORMS[provider]
    return msgspec.json.decode(vault.open(sealed, _about(account, user, provider)), type=form)


def reseal_details(vault: Vault, sealed: Sealed, account: UUID, user: UUID, provider: str) -> Sealed:
    """The same under the current key. Raises VaultError."""
    about = _about(account, user, provider)
    return vault.seal(vault.open(sealed, about), about)
