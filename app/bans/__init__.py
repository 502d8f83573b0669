"""Whom creators have banned from the chats of their streams and from calling them.

Table core.bans; functions api.ban_user, api.unban_user; view api.bans. Events ``user.banned``, ``user.unbanned``.
"""
