-- follow_channels: may they follow these channels, and where do those stand?
-- Locks    nothing
-- Decides  each as core._follow_refusal
-- Writes   nothing
-- Errors   TS107 BATCH_TOO_LARGE; in outcomes TS120 INVALID_CHANNEL, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND,
--          TS219 CALL_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN, TS506 NO_ACCESS_TO_STREAM, TS508 NOT_CALL_PARTICIPANT
CREATE OR REPLACE FUNCTION api.follow_channels(p_requests api.follow_request [], p_positions boolean DEFAULT true)
RETURNS SETOF api.follow_outcome
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_batch CONSTANT integer := 1000;
BEGIN
    IF cardinality(p_requests) > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', cardinality(p_requests), 'maximum', c_batch), 'Send less at once.');
    END IF;
    RETURN QUERY
    SELECT
        q.ord::integer, p.epoch, p.seq, p.first_seq, (q.refusal).error_code, (q.refusal).error, (q.refusal).detail
    FROM (
        SELECT r.channel, r.ord, core._follow_refusal(r.user_id, r.channel) AS refusal
        FROM unnest(p_requests) WITH ORDINALITY AS r (user_id, channel, ord)
    ) AS q
    LEFT JOIN LATERAL (
        SELECT a.epoch, a.seq, a.first_seq FROM api.channel_position(q.channel) AS a
    ) AS p ON p_positions AND (q.refusal).error_code IS NULL
    ORDER BY q.ord;
END;
$$;

COMMENT ON FUNCTION api.follow_channels(api.follow_request [], boolean) IS
'Whether these users may follow these channels, up to 1000 at once: one outcome a request, in order, each with the channel''s position (without p_positions only whether they may) or a refusal. Public streams are anybody''s, others their owner''s and ticket holders''; calls their two people''s; user and creator channels one''s own; ops that of operators and admins.';
