-- _access_reason: the only judge of who may watch a stream, read its chat and follow its channel.
-- Locks    nothing
-- Decides  owner, public stream, ticket
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._access_reason(p_stream uuid, p_viewer uuid) RETURNS text
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN (
        SELECT CASE
            WHEN s.creator_id = p_viewer THEN 'owner'
            WHEN s.visibility = 'public' THEN 'public_stream'
            WHEN EXISTS (
                SELECT FROM core.tickets AS t WHERE t.stream_id = s.id AND t.viewer_id = p_viewer AND t.refunded_at IS NULL
            ) THEN 'ticket_purchased'
            ELSE 'no_ticket'
        END
        FROM core.streams AS s
        WHERE s.id = p_stream
    );
END;
$$;

COMMENT ON FUNCTION core._access_reason(uuid, uuid) IS 'Why user p_viewer may watch stream p_stream (owner, public_stream, ticket_purchased), no_ticket where they may not; NULL: no such stream.';
