"""Pictures and sound: tokens for the rooms of LiveKit, and what LiveKit tells of them (docs/live.md).

Tables core.live_rooms, core.live_events; functions api.enter_room, api.note_live_event; view api.live_rooms. Who may
enter is decided by the domains streams and calls. Without the settings of LiveKit every route here answers 503.
"""
