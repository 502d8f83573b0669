-- note_live_event: the media server has told something of a room, perhaps late, again, or before what came first.
-- Locks    the event's id; then as core._note_call_presence or core._note_viewer
-- Decides  that it is of a room of ours, about somebody who came or left, and was not told before
-- Writes   live_events; call_clocks; viewers; live_rooms (reopened_at, closed_at) where somebody came into a room that is over
-- Errors   TS101 INVALID_REQUEST, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.note_live_event(p_id text, p_event text, p_room text, p_identity text DEFAULT NULL, p_at timestamptz DEFAULT NULL)
RETURNS text
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_uuid CONSTANT text := '[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}';
    v_at CONSTANT timestamptz := least(p_at, clock_timestamp());
    v_came CONSTANT boolean := coalesce(p_event = 'participant_joined', false);
    v_subject uuid;
    v_user uuid;
    v_over boolean;
    v_applied boolean;
BEGIN
    IF (octet_length(p_id) BETWEEN 1 AND 255) IS NOT TRUE THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'id'), 'An event has an id of 1 to 255 bytes.');
    ELSIF (p_room ~ ('^(stream|call)-' || c_uuid || '$')) IS NOT TRUE THEN
        RETURN 'ignored';
    ELSIF p_event IN ('participant_joined', 'participant_left', 'participant_connection_aborted') THEN
        v_user := substring(p_identity FROM '^' || c_uuid || '$')::uuid;
    END IF;
    IF v_user IS NULL AND p_event IS DISTINCT FROM 'room_finished' THEN
        RETURN 'ignored';
    END IF;
    v_subject := substring(p_room FROM '-(.*)$')::uuid;
    IF p_room LIKE 'call-%' THEN
        SELECT c.status IN ('ended', 'declined', 'missed') INTO v_over FROM core.calls AS c WHERE c.id = v_subject;
    ELSE
        SELECT s.status = 'ended' INTO v_over FROM core.streams AS s WHERE s.id = v_subject;
    END IF;
    IF v_over AND v_came THEN
        INSERT INTO core.live_rooms AS r (id, kind, reopened_at)
        VALUES (v_subject, split_part(p_room, '-', 1), clock_timestamp())
        ON CONFLICT ON CONSTRAINT live_rooms_pkey DO UPDATE SET reopened_at = excluded.reopened_at, closed_at = NULL;
        RETURN 'over';
    ELSIF v_over IS NOT FALSE THEN
        RETURN 'ignored';
    END IF;

    INSERT INTO core.live_events (id, event, room, identity, created_at)
    VALUES (p_id, p_event, p_room, v_user::text, v_at)
    ON CONFLICT ON CONSTRAINT live_events_pkey DO NOTHING;
    IF NOT FOUND THEN
        RETURN 'repeated';
    END IF;
    IF p_room LIKE 'call-%' THEN
        v_applied := core._note_call_presence(v_subject, v_user, CASE WHEN v_came THEN 'joined' ELSE 'left' END, v_at);
    ELSIF EXISTS (SELECT FROM core.users AS u WHERE u.id = v_user) THEN
        PERFORM core._note_viewer(v_subject, v_user, v_came, v_at);
        v_applied := true;
    END IF;
    RETURN CASE WHEN v_applied THEN 'applied' ELSE 'ignored' END;
END;
$$;

COMMENT ON FUNCTION api.note_live_event(text, text, text, text, timestamptz) IS
'Takes in event p_id of the media server: p_event in p_room (stream-… or call-…) about the user p_identity at p_at (NULL, or in the future: now). Returns applied; repeated (the id was told before); ignored (unknown room, user or event, or what tells nothing new); over (somebody came into a room whose stream or call is over: the scheduler closes it again). Events count viewers and may shorten a call, and never pay for anything.';
