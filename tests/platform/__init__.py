"""Tests of what runs the service: settings, the embedded server, the commands."""
