-- end_stream: a stream is over. Its tickets stay paid for.
-- Locks    the stream
-- Decides  that it is p_actor's and is live
-- Writes   streams, outbox 'stream.ended'
-- Errors   TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS328 STREAM_ENDED, TS330 STREAM_NOT_LIVE, TS502 USER_SUSPENDED,
--          TS505 NOT_STREAM_OWNER
CREATE OR REPLACE FUNCTION api.end_stream(p_stream uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.streams
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (core._open_stream(p_stream, p_actor)).status <> 'live' THEN
        PERFORM core._raise('TS330', 'STREAM_NOT_LIVE', jsonb_build_object('stream_id', p_stream), 'One that never began is cancelled.');
    END IF;
    UPDATE core.streams AS s SET status = 'ended', ended_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE s.id = p_stream;
    PERFORM core._stream_event('stream.ended', p_stream);
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

COMMENT ON FUNCTION api.end_stream(uuid, uuid) IS 'Stream p_stream, which is live, ends. p_actor must be its creator where named.';
