-- _open_adjustment: an adjustment that can still be decided.
-- Locks    the adjustment, FOR UPDATE
-- Decides  that it exists and is pending, by status and clock
-- Writes   nothing
-- Errors   TS217 ADJUSTMENT_NOT_FOUND, TS322 ADJUSTMENT_CLOSED
CREATE OR REPLACE FUNCTION core._open_adjustment(p_adjustment uuid) RETURNS core.adjustments
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_adjustment core.adjustments;
BEGIN
    SELECT a.* INTO v_adjustment FROM core.adjustments AS a WHERE a.id = p_adjustment FOR UPDATE;
    IF v_adjustment.id IS NULL THEN
        PERFORM core._raise(
            'TS217', 'ADJUSTMENT_NOT_FOUND', jsonb_build_object('adjustment_id', p_adjustment), 'api.adjustments lists them.'
        );
    ELSIF v_adjustment.status <> 'pending' OR v_adjustment.expires_at <= clock_timestamp() THEN
        PERFORM core._raise(
            'TS322', 'ADJUSTMENT_CLOSED',
            jsonb_build_object(
                'adjustment_id', p_adjustment,
                'adjustment_status', CASE v_adjustment.status WHEN 'pending' THEN 'expired' ELSE v_adjustment.status END,
                'expires_at', v_adjustment.expires_at
            ),
            'Ask for a new one.'
        );
    END IF;
    RETURN v_adjustment;
END;
$$;

COMMENT ON FUNCTION core._open_adjustment(uuid) IS 'The adjustment, locked; raises when there is none or it has been decided or has expired.';
