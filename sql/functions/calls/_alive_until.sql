-- _alive_until: the last sign of life of a call.
-- Errors   none
CREATE OR REPLACE FUNCTION core._alive_until(p_clock core.call_clocks) RETURNS timestamptz
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT least(
        greatest((p_clock).fan_seen_at, (p_clock).creator_seen_at),
        CASE WHEN (p_clock).fan_left_at > (p_clock).fan_seen_at THEN (p_clock).fan_left_at END,
        CASE WHEN (p_clock).creator_left_at > (p_clock).creator_seen_at THEN (p_clock).creator_left_at END
    )
$$;

COMMENT ON FUNCTION core._alive_until(core.call_clocks) IS
'When a call was last seen: the newest sign of life of either of its people, or when one of them left the room and was not seen since.';
