"""Events and how they reach those who follow them.

Every event is a row of core.outbox, written in the commit that it tells of; the relay (docs/relay.md) numbers it in
each of its channels. What an event is called, holds and reaches is in ``app.realtime.events``; docs/events.md and the
AsyncAPI document (docs/asyncapi.json, ``GET /api/v1/asyncapi.json``) are made from there.
"""
