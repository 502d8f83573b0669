"""Connections to payment providers that are spoken to over plain HTTP, the same for money in and money out."""

from __future__ import annotations

import httpx


def client(base_url: str, seconds: float, key: str | None = None) -> httpx.AsyncClient:
    """An HTTP client of one provider, with its key if it takes one as a bearer's; it follows nobody elsewhere and takes
    no proxy from the environment."""
    return httpx.AsyncClient(
        base_url=base_url.rstrip("/"),
        timeout=seconds,
        headers={} if key is None else {"Authorization": f"Bearer {key}"},
        follow_redirects=False,
        trust_env=False,
    )
