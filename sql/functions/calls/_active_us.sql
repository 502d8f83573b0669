-- _active_us: for how long a call has been active at a moment.
-- Errors   none
CREATE OR REPLACE FUNCTION core._active_us(p_clock core.call_clocks, p_block_us bigint, p_at timestamptz) RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS $$
    SELECT greatest(
        (p_clock).active_us
        + greatest(0, coalesce((extract(EPOCH FROM p_at - (p_clock).running_since) * 1000000)::bigint, 0)),
        ((p_clock).blocks - 1) * p_block_us
    )
$$;

COMMENT ON FUNCTION core._active_us(core.call_clocks, bigint, timestamptz) IS
'Active time at p_at in microseconds, without pauses. With the length of a block: not less than up to the last paid one, which has begun, also by a clock that was set back since.';
