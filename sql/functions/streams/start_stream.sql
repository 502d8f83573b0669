-- start_stream: a stream goes live.
-- Locks    the stream
-- Decides  that it is p_actor's and has not ended; live already: nothing changes
-- Writes   streams, outbox 'stream.started'
-- Errors   TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS328 STREAM_ENDED, TS502 USER_SUSPENDED, TS505 NOT_STREAM_OWNER
CREATE OR REPLACE FUNCTION api.start_stream(p_stream uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.streams
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF (core._open_stream(p_stream, p_actor)).status = 'scheduled' THEN
        UPDATE core.streams AS s SET status = 'live', started_at = clock_timestamp(), updated_at = clock_timestamp()
        WHERE s.id = p_stream;
        PERFORM core._stream_event('stream.started', p_stream);
    END IF;
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

COMMENT ON FUNCTION api.start_stream(uuid, uuid) IS 'Stream p_stream is live from now on. p_actor must be its creator where named. Live already: nothing changes.';
