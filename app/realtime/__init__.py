"""Realtime: the channels of events over WebSockets (docs/realtime.md)."""
