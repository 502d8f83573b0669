"""Tessera: the money engine of a creator platform."""

__version__ = "0.1.0"
