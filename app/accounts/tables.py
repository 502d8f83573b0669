"""Piccolo tables of accounts: for lists with filters, and for the admin. Nothing that carries money is here."""

from __future__ import annotations

from piccolo.columns import UUID, Array, Text, Timestamptz
from piccolo.table import Table

from app.core.database import ENGINE


class User(Table, tablename="users", schema="core", db=ENGINE):
    """A person. The password hash is left out on purpose: nothing lists it."""

    id = UUID(primary_key=True)
    email = Text()
    username = Text()
    display_name = Text()
    roles = Array(base_column=Text())
    status = Text()
    created_at = Timestamptz()
    updated_at = Timestamptz()
