-- reject_adjustment: an adjustment will not be made. Its requester may say so too.
-- Locks    the adjustment
-- Decides  that it is pending
-- Writes   adjustments, audit_log and outbox 'adjustment.rejected'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS217 ADJUSTMENT_NOT_FOUND, TS322 ADJUSTMENT_CLOSED,
--          TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.reject_adjustment(p_adjustment uuid, p_reason text, p_actor uuid DEFAULT NULL)
RETURNS SETOF api.adjustments
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM core._open_adjustment(p_adjustment);
    UPDATE core.adjustments AS a
    SET
        status = 'rejected', decided_by = p_actor, decided_db_user = session_user, decided_at = clock_timestamp(),
        decision_reason = p_reason
    WHERE a.id = p_adjustment;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'adjustment.rejected', p_adjustment, jsonb_build_object('reason', p_reason));
    PERFORM core._adjustment_event('adjustment.rejected', p_adjustment);
    RETURN QUERY SELECT a.* FROM api.adjustments AS a WHERE a.adjustment_id = p_adjustment;
END;
$$;

COMMENT ON FUNCTION api.reject_adjustment(uuid, text, uuid) IS
'Rejects adjustment p_adjustment; p_reason is required. Nothing moves. One that was decided before or has expired is TS322.';
