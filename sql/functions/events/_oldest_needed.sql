-- _oldest_needed: from when on events of the outbox are still needed.
-- Locks    core.relay_state, so that no relay works meanwhile
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._oldest_needed() RETURNS timestamptz
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_state core.relay_state;
BEGIN
    SELECT r.* INTO v_state FROM core.relay_state AS r FOR UPDATE;
    IF v_state.target IS NOT NULL OR v_state.phase <> 'own' OR v_state.cluster <> core._cluster() THEN
        RETURN '-infinity';
    END IF;
    RETURN least(
        (SELECT min(d.oldest_at) FROM core.channel_days AS d),
        (
            SELECT min(o.created_at)
            FROM core.outbox AS o
            WHERE o.xid >= pg_snapshot_xmax(v_state.base) AND o.xid < pg_snapshot_xmax(pg_current_snapshot()) AND o.id > v_state.floor_id
        ),
        (
            SELECT min(o.created_at)
            FROM pg_snapshot_xip(v_state.base) AS x (xid)
            INNER JOIN core.outbox AS o ON o.xid = x.xid AND o.id > v_state.floor_id
        )
    );
END;
$$;

COMMENT ON FUNCTION core._oldest_needed() IS 'When the oldest event was written that is not relayed, or that a partition of core.channel_events points to; -infinity while a backlog is under way, NULL where nothing is needed.';
