"""Streams of creators, and the tickets that let viewers watch the private ones.

Tables core.streams, core.tickets; functions api.create_stream, api.start_stream, api.end_stream, api.cancel_stream,
api.stream_access, api.buy_ticket, api.buy_tickets; views api.streams, api.tickets. Events ``stream.created``,
``stream.started``, ``stream.ended``, ``stream.cancelled``, ``ticket.sold``.
"""
