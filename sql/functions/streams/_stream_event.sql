-- _stream_event: everybody who follows a stream or its creator hears of it.
-- Locks    nothing
-- Decides  nothing
-- Writes   outbox
-- Errors   none
CREATE OR REPLACE FUNCTION core._stream_event(p_type text, p_stream uuid) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT p_type, ARRAY['creator:' || s.creator_id::text, 'stream:' || s.id::text], to_jsonb(v)
    FROM core.streams AS s
    INNER JOIN api.streams AS v ON v.stream_id = s.id
    WHERE s.id = p_stream
$$;

COMMENT ON FUNCTION core._stream_event(text, uuid) IS 'Writes the event p_type with the stream as it is now.';
