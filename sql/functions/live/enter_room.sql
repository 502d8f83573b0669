-- enter_room: may this user into the room of a stream or call, and as what?
-- Locks    nothing
-- Decides  a stream: as api.stream_access, until it has ended; only its creator sends. A call: its two people, from the moment
--          it was accepted until it is over; both send
-- Writes   live_rooms, the first time
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS219 CALL_NOT_FOUND, TS328 STREAM_ENDED,
--          TS335 CALL_ENDED, TS337 CALL_NOT_ACTIVE, TS502 USER_SUSPENDED, TS506 NO_ACCESS_TO_STREAM, TS508 NOT_CALL_PARTICIPANT
CREATE OR REPLACE FUNCTION api.enter_room(p_kind text, p_id uuid, p_user uuid) RETURNS api.live_seat
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_name text;
    v_publishes boolean := true;
BEGIN
    PERFORM core._check_actor(p_user);
    SELECT u.display_name INTO v_name FROM core.users AS u WHERE u.id = p_user;
    IF v_name IS NULL THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user), 'Somebody has to enter.');
    ELSIF p_kind = 'stream' THEN
        v_publishes := core._seat_in_stream(p_id, p_user);
    ELSIF p_kind = 'call' THEN
        PERFORM core._check_seat_in_call(p_id, p_user);
    ELSE
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'kind'), 'A stream or a call.');
    END IF;
    INSERT INTO core.live_rooms (id, kind) VALUES (p_id, p_kind) ON CONFLICT ON CONSTRAINT live_rooms_pkey DO NOTHING;
    RETURN ROW(p_kind || '-' || p_id::text, v_name, v_publishes)::api.live_seat;
END;
$$;

COMMENT ON FUNCTION api.enter_room(text, uuid, uuid) IS
'The place of user p_user in the media server''s room of a stream or call (p_kind: stream, call). Whoever may watch a stream may enter until it has ended, and only its creator sends; a call is for its two people, from its acceptance to its end. Makes no room: the media server does when somebody comes.';
