"""Realtime: whoever follows a channel gets its events in order over a WebSocket (docs/realtime.md).

Tables of its own: ``core.realtime_tickets``. Functions: ``api.follow_channels``, ``api.read_channels``,
``api.stream_audience``, ``api.leave_streams``. The log of the channels is the relay's (docs/relay.md).

    wire.py         the one way to the network: a frame that is made once is written to any number of sockets
    protocol.py     what is said over a socket, as structs
    events.py       every type of event: its name, what it holds, whom it reaches (docs/events.md is made from there)
    asyncapi.py     the AsyncAPI document
    channel.py      a channel that somebody here follows: its newest events, and who gets the next ones
    hub.py          reads the log once for everybody, and hands it out
    sockets.py      one socket: who it is, what it follows, what it asks
    guard.py        looks at everybody's rights again
    presence.py     who watches which stream
    service.py      puts them together; routes.py: the ticket and the upgrade
    client.py       the other end: who follows channels from afar, in Python (`tessera tail`)
"""
