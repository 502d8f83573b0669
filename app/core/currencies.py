"""Currencies whose minor unit is not a hundredth (as payment providers count them)."""

from __future__ import annotations

WHOLE_CURRENCIES = frozenset(
    ("BIF", "CLP", "DJF", "GNF", "JPY", "KMF", "KRW", "MGA", "PYG", "RWF", "UGX", "VND", "VUV", "XAF", "XOF", "XPF")
)
"""Without a minor unit."""
THOUSANDTHS = frozenset(("BHD", "JOD", "KWD", "OMR", "TND"))
"""With one of which a thousand make a whole."""
