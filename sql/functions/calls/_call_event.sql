-- _call_event: both people of calls hear of it.
-- Locks    nothing
-- Decides  nothing
-- Writes   outbox
-- Errors   none
CREATE OR REPLACE FUNCTION core._call_event(p_type text, p_calls uuid []) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT p_type, ARRAY[v.channel, 'user:' || v.fan_id::text, 'user:' || v.creator_id::text], to_jsonb(v)
    FROM unnest(p_calls) AS p (id)
    CROSS JOIN LATERAL (SELECT x.* FROM api.calls AS x WHERE x.call_id = p.id LIMIT 1) AS v
$$;

COMMENT ON FUNCTION core._call_event(text, uuid []) IS 'Writes the event p_type for each of the calls, with the call as it is now.';
