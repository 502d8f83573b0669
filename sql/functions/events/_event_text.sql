-- _event_text: an event as it stands in a frame of the realtime socket, without its number.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._event_text(p_type text, p_at timestamptz, p_payload jsonb) RETURNS text
LANGUAGE sql STABLE
RETURN concat(
    '"type":"', p_type, '","at":"', to_char(p_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '","data":', p_payload, '}'
);

COMMENT ON FUNCTION core._event_text(text, timestamptz, jsonb) IS
'The rest of an event as a JSON object, after {"seq":<number>, : type, at (ISO 8601, UTC, microseconds) and data, without a line break. Plain SQL, so that it is inlined.';
