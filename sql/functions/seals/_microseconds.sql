-- _microseconds: a time as PostgreSQL sends it.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._microseconds(p_at timestamptz) RETURNS bigint
LANGUAGE sql STABLE
RETURN ('x' || encode(timestamptz_send(p_at), 'hex'))::bit(64)::bigint;

COMMENT ON FUNCTION core._microseconds(timestamptz) IS 'Microseconds since 2000-01-01 00:00 UTC; -infinity and infinity are the least and the greatest bigint.';
