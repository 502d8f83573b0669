-- _first_unrelayed: the first event that is committed and not yet relayed, in the order of transactions.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._first_unrelayed(p_base pg_snapshot, p_floor bigint) RETURNS timestamptz
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
AS $$
DECLARE
    v_new timestamptz;
    v_slow timestamptz;
BEGIN
    -- numbers that this cluster has not given out yet are those of another one
    SELECT o.created_at INTO v_new
    FROM core.outbox AS o
    WHERE o.xid >= pg_snapshot_xmax(p_base) AND o.xid < pg_snapshot_xmax(pg_current_snapshot()) AND o.id > p_floor
    ORDER BY o.xid, o.id
    LIMIT 1;
    SELECT min(f.created_at) INTO v_slow
    FROM pg_snapshot_xip(p_base) AS x (xid)
    CROSS JOIN LATERAL (
        SELECT o.created_at
        FROM core.outbox AS o
        WHERE o.xid = x.xid AND o.id > p_floor
        ORDER BY o.xid, o.id
        LIMIT 1
    ) AS f;
    RETURN least(v_new, v_slow);
END;
$$;

COMMENT ON FUNCTION core._first_unrelayed(pg_snapshot, bigint) IS 'When the first event was written that is committed and not visible in p_base, of those with ids above p_floor; NULL when there is none. An index probe in each partition, and as many for each transaction that was open at p_base.';
