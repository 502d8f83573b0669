-- _is_backlog: is there more than one chunk between base and target?
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._is_backlog(p_state core.relay_state, p_limit integer) RETURNS boolean
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
AS $$
DECLARE
    v_xips CONSTANT xid8 [] := ARRAY(SELECT x.xid FROM pg_snapshot_xip(p_state.base) AS x (xid));
    v_old bigint;
BEGIN
    -- Ids that were given out since, and events of transactions that were open then: if those are few there is nothing to count.
    SELECT count(*) INTO v_old
    FROM (SELECT FROM core.outbox AS o WHERE o.xid = ANY (v_xips) AND o.id > p_state.floor_id LIMIT p_limit + 1) AS u;
    IF v_old + (SELECT s.last_value FROM core.outbox_id_seq AS s) - p_state.last_id <= p_limit THEN
        RETURN false;
    END IF;
    RETURN (
        SELECT count(*)
        FROM (
            SELECT
            FROM core.outbox AS o
            WHERE o.xid >= pg_snapshot_xmax(p_state.base) AND o.xid < pg_snapshot_xmax(p_state.target)
                AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
            UNION ALL
            SELECT
            FROM core.outbox AS o
            WHERE o.xid = ANY (v_xips) AND o.id > p_state.floor_id AND pg_visible_in_snapshot(o.xid, p_state.target)
            LIMIT p_limit + 1
        ) AS u
    ) > p_limit;
END;
$$;

COMMENT ON FUNCTION core._is_backlog(core.relay_state, integer) IS 'Whether more than p_limit events are visible in the target of p_state and not in its base. Counts no further than that.';
