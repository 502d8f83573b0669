"""LiveKit itself: the tokens it takes, the webhooks it signs, the rooms it is told to close.

The library is loaded only where LiveKit is configured: it takes most of a second and 40 MB.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from app.core.errors import error
from app.live.structs import Event, Seat
from app.settings import Settings

CLOSE_SECONDS = 5.0
"""Longest LiveKit may take to close a room."""
LAST_SECOND = 253_402_300_799
"""Of the year 9999: the last that Python can tell."""


class RoomNotClosed(Exception):
    """LiveKit could not be told to close a room; says why."""


class LiveKit:
    """LiveKit, as its public interface has it."""

    def __init__(self, url: str, key: str, secret: str, token_seconds: int) -> None:
        from livekit import api

        self._api: Any = api
        self._url, self._key, self._secret = url, key, secret
        self._receiver = api.WebhookReceiver(api.TokenVerifier(key, secret))
        self.token_seconds = token_seconds

    @classmethod
    def of(cls, settings: Settings) -> LiveKit | None:
        """The one that the settings name, if any."""
        if not (settings.livekit_url and settings.livekit_api_key and settings.livekit_api_secret):
            return None
        return cls(
            settings.livekit_url,
            settings.livekit_api_key,
            settings.livekit_api_secret,
            settings.livekit_token_ttl_seconds,
        )

    @property
    def client_url(self) -> str:
        """Where LiveKit's clients connect: a WebSocket."""
        return f"ws{self._url.removeprefix('http')}" if self._url.startswith("http") else self._url

    def token(self, user: UUID, seat: Seat) -> str:
        """A token for this user and this place. What may not be done is said: LiveKit allows what is left out."""
        grants = self._api.VideoGrants(
            room_join=True,
            room=seat.room,
            room_admin=False,
            can_publish=seat.publishes,
            can_publish_data=seat.publishes,
            can_subscribe=True,
            can_update_own_metadata=False,
        )
        token = self._api.AccessToken(self._key, self._secret).with_identity(str(user)).with_name(seat.name)
        made: str = token.with_grants(grants).with_ttl(timedelta(seconds=self.token_seconds)).to_jwt()
        return made

    async def close_room(self, room: str) -> None:
        """Close a room and put everybody out; one that is not there is closed. Raises RoomNotClosed."""
        try:
            server = self._api.LiveKitAPI(self._url, self._key, self._secret)
            async with asyncio.timeout(CLOSE_SECONDS), server:
                await server.room.delete_room(self._api.DeleteRoomRequest(room=room))
        except self._api.ServerError as exc:
            if exc.code != self._api.ServerErrorCode.NOT_FOUND:
                raise RoomNotClosed(f"LiveKit answered {exc.status} {exc.code}") from exc
        except Exception as exc:  # of the library and of three more below it
            raise RoomNotClosed(repr(exc)) from exc

    def read_event(self, body: bytes, signature: str | None) -> Event | None:
        """What a webhook tells, once its signature and the hash of its body are found right; None: nothing for us.

        Errors: LIVEKIT_SIGNATURE_INVALID, MALFORMED_JSON.
        """
        from google.protobuf.json_format import ParseError

        if signature is None:
            raise error("LIVEKIT_SIGNATURE_INVALID", "The header Authorization is missing.")
        try:
            told = self._receiver.receive(body.decode(), signature)
        except (ParseError, UnicodeDecodeError, RecursionError) as exc:
            raise error("MALFORMED_JSON") from exc
        except Exception as exc:  # a hash that does not fit is a bare one
            raise error("LIVEKIT_SIGNATURE_INVALID") from exc
        someone = told.participant if told.HasField("participant") else None
        if someone is not None and someone.disconnect_reason == self._api.DisconnectReason.DUPLICATE_IDENTITY:
            return None  # they are there: by another connection
        return Event(
            id=told.id,
            name=told.event,
            room=told.room.name,
            identity=None if someone is None else someone.identity,
            at=_moment(told.created_at),
        )


def _moment(seconds: int) -> datetime | None:
    if seconds <= 0:
        return None
    return datetime.fromtimestamp(min(seconds, LAST_SECOND), UTC)
