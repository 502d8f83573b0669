"""HTTP with a provider that has no library: JSON both ways, and no doubt about what a failure means."""

from __future__ import annotations

from typing import Any

import httpx
import msgspec

from app.payments.providers.protocol import ProviderRefused, ProviderUnavailable

REFUSALS = (400, 402, 403, 404, 409, 410, 422)
"""The request itself was understood and declined. All else may be different the next time."""
WORDS = 200
"""So much of what a provider says is kept."""


async def call(http: httpx.AsyncClient, method: str, path: str, **options: Any) -> Any:
    """The JSON of a 2xx answer. Raises ProviderRefused for what was declined, ProviderUnavailable for all else."""
    try:
        answer = await http.request(method, path, **options)
    except (httpx.HTTPError, httpx.InvalidURL) as exc:
        raise ProviderUnavailable(repr(exc)) from exc
    if answer.status_code in REFUSALS:
        raise ProviderRefused(f"{answer.status_code} {answer.text[:WORDS]}")
    if not answer.is_success:
        raise ProviderUnavailable(f"{answer.status_code} {answer.text[:WORDS]}")
    try:
        return msgspec.json.decode(answer.content) if answer.content else None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise ProviderUnavailable(f"an answer that is not JSON: {exc}") from exc
