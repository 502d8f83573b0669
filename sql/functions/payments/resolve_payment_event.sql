-- resolve_payment_event: a person has dealt with an event that nothing could be made of.
-- Locks    the event
-- Decides  that it waits for a person; that p_actor is an administrator
-- Writes   payment_events, audit_log 'payment_event.resolved'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS252 PAYMENT_EVENT_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.resolve_payment_event(
    p_provider text,
    p_event text,
    p_reason text,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.payment_events
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_event core.payment_events;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    SELECT e.* INTO v_event
    FROM core.payment_events AS e
    WHERE e.provider = p_provider AND e.event_id = p_event
    FOR NO KEY UPDATE;
    IF v_event.event_id IS NULL THEN
        PERFORM core._raise(
            'TS252', 'PAYMENT_EVENT_NOT_FOUND', jsonb_build_object('provider', p_provider, 'event_id', p_event), 'Nothing was done.'
        );
    ELSIF v_event.outcome IN ('unknown', 'mismatch', 'duplicate', 'contradiction', 'refused') THEN
        UPDATE core.payment_events AS e SET outcome = 'resolved', due_at = NULL
        WHERE e.provider = p_provider AND e.event_id = p_event;
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (
            p_actor, 'payment_event.resolved', v_event.payment_id,
            jsonb_build_object('provider', p_provider, 'event_id', p_event, 'outcome', v_event.outcome, 'reason', p_reason)
        );
    END IF;
    RETURN QUERY SELECT e.* FROM api.payment_events AS e WHERE e.provider = p_provider AND e.event_id = p_event;
END;
$$;

COMMENT ON FUNCTION api.resolve_payment_event(text, text, text, uuid) IS
'Closes an event that waits for a person, with a reason, which goes to the audit log. It moves nothing. One that does not wait stays as it is.';
