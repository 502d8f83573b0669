-- _note_call_presence: somebody joined or left the room of a call, as the room's server tells, perhaps late and out of order.
-- Locks    the call's clock
-- Decides  that the call goes on, p_user is one of its people (NULL: both), nothing newer is known of them, and it was not before the call
-- Writes   call_clocks (fan_seen_at, creator_seen_at, fan_left_at, creator_left_at)
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION core._note_call_presence(p_call uuid, p_user uuid, p_event text, p_at timestamptz) RETURNS boolean
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_grace CONSTANT interval := make_interval(secs => core._rate('call_grace'));
    v_call core.calls;
    v_at timestamptz;
BEGIN
    PERFORM FROM core.call_clocks AS k WHERE k.call_id = p_call FOR NO KEY UPDATE;
    SELECT c.* INTO v_call
    FROM core.calls AS c
    WHERE c.id = p_call AND c.status IN ('active', 'paused') AND (p_user IS NULL OR p_user IN (c.fan_id, c.creator_id));
    IF v_call.id IS NULL THEN
        RETURN false;
    END IF;
    -- told in whole seconds; what was before the call tells nothing of it
    IF p_at <= v_call.accepted_at - interval '1 second' THEN
        RETURN false;
    END IF;
    v_at := least(p_at, clock_timestamp());
    IF p_event = 'joined' THEN
        UPDATE core.call_clocks AS k
        SET
            fan_seen_at = CASE WHEN p_user = v_call.fan_id THEN greatest(k.fan_seen_at, v_at) ELSE k.fan_seen_at END,
            creator_seen_at = CASE WHEN p_user = v_call.creator_id THEN greatest(k.creator_seen_at, v_at) ELSE k.creator_seen_at END
        WHERE k.call_id = p_call AND clock_timestamp() < core._alive_until(k) + v_grace;
    ELSE
        v_at := greatest(v_at, v_call.accepted_at);
        UPDATE core.call_clocks AS k
        SET
            fan_left_at = CASE
                WHEN coalesce(p_user, v_call.fan_id) = v_call.fan_id AND v_at > k.fan_seen_at
                    AND coalesce(k.fan_left_at <= k.fan_seen_at, true) THEN v_at
                ELSE k.fan_left_at
            END,
            creator_left_at = CASE
                WHEN coalesce(p_user, v_call.creator_id) = v_call.creator_id AND v_at > k.creator_seen_at
                    AND coalesce(k.creator_left_at <= k.creator_seen_at, true) THEN v_at
                ELSE k.creator_left_at
            END
        WHERE k.call_id = p_call;
    END IF;
    RETURN FOUND;
END;
$$;

COMMENT ON FUNCTION core._note_call_presence(uuid, uuid, text, timestamptz) IS
'Notes that p_user (NULL: both of its people) joined or left the room of call p_call at p_at; false where that tells nothing. A call whose people left ends after the rate call_grace, billed up to then, unless they are seen again: such events shorten a call, and never pay for anything.';
