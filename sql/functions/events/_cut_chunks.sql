-- _cut_chunks: what is visible in p_target and not in p_base, cut into chunks of at most p_limit events.
-- Locks    nothing (the caller holds core.relay_state)
-- Decides  nothing
-- Writes   relay_chunks
-- Errors   none
CREATE OR REPLACE FUNCTION core._cut_chunks(p_state core.relay_state, p_limit integer) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
AS $$
DECLARE
    v_xips CONSTANT xid8 [] := ARRAY(SELECT x.xid FROM pg_snapshot_xip(p_state.base) AS x (xid));
    v_xmax CONSTANT xid8 := pg_snapshot_xmax(p_state.base);
BEGIN
    -- Ids are unique, so a range of p_limit numbers has no more events than that: nothing is sorted, however many there are.
    INSERT INTO core.relay_chunks (from_id, to_id, from_xid, to_xid, events)
    SELECT
        min(u.id), max(u.id),
        -- transactions that were open at base are found by their numbers
        coalesce(min(u.xid) FILTER (WHERE p_state.phase = 'restored' OR u.xid >= v_xmax), min(u.xid)),
        coalesce(max(u.xid) FILTER (WHERE p_state.phase = 'restored' OR u.xid >= v_xmax), min(u.xid)),
        count(*)
    FROM (
        SELECT o.xid, o.id
        FROM core.outbox AS o
        WHERE p_state.phase = 'restored' AND (o.id > p_state.last_id OR NOT pg_visible_in_snapshot(o.xid, p_state.base))
        UNION ALL
        SELECT o.xid, o.id
        FROM core.outbox AS o
        WHERE p_state.phase <> 'restored' AND o.xid >= v_xmax AND o.xid < pg_snapshot_xmax(p_state.target)
            AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
        UNION ALL
        SELECT o.xid, o.id
        FROM core.outbox AS o
        WHERE o.xid = ANY (v_xips) AND p_state.phase <> 'restored' AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
    ) AS u
    GROUP BY u.id / p_limit;
END;
$$;

COMMENT ON FUNCTION core._cut_chunks(core.relay_state, integer) IS 'Writes core.relay_chunks: the events between base and target of p_state by ranges of ids, at most p_limit in each.';
