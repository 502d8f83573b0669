"""Streams of creators, and the tickets that let viewers watch the private ones.

Tables core.streams, core.tickets, core.viewers, core.stream_viewers; functions api.create_stream, api.update_stream,
api.start_stream, api.end_stream, api.cancel_stream, api.stream_access, api.buy_ticket, api.buy_tickets,
api.watch_streams, api.count_viewers; views api.streams, api.tickets. Events ``stream.created``, ``stream.updated``,
``stream.started``, ``stream.ended``, ``stream.cancelled``, ``stream.viewers``, ``ticket.sold``,
``ticket.refunded``. Its chat is app/chat.
"""
