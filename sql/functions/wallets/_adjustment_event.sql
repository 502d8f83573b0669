-- _adjustment_event: operators hear of an adjustment.
-- Locks    nothing
-- Decides  nothing
-- Writes   outbox
-- Errors   none
CREATE OR REPLACE FUNCTION core._adjustment_event(p_type text, p_adjustment uuid) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT p_type, ARRAY['ops'], to_jsonb(a)
    FROM api.adjustments AS a
    WHERE a.adjustment_id = p_adjustment
$$;

COMMENT ON FUNCTION core._adjustment_event(text, uuid) IS 'Writes the event p_type with the adjustment as it is now.';
