-- stream_access: may this user watch?
-- Locks    nothing
-- Decides  as core._access_reason
-- Writes   nothing
-- Errors   TS218 STREAM_NOT_FOUND
CREATE OR REPLACE FUNCTION api.stream_access(p_stream uuid, p_viewer uuid, OUT has_access boolean, OUT reason text)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    reason := core._access_reason(p_stream, p_viewer);
    IF reason IS NULL THEN
        PERFORM core._raise('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream), 'api.streams lists them.');
    END IF;
    has_access := reason <> 'no_ticket';
END;
$$;

COMMENT ON FUNCTION api.stream_access(uuid, uuid) IS 'Whether user p_viewer may watch stream p_stream, and why: owner, public_stream, ticket_purchased or no_ticket.';
