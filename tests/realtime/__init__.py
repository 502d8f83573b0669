"""Tests of the realtime WebSocket."""
