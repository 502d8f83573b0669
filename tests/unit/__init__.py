"""Tests of single pieces that need no database."""
