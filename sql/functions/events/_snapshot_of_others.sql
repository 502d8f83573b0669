-- _snapshot_of_others: the present, without what this transaction itself has done or will do.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._snapshot_of_others() RETURNS pg_snapshot
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT (
        pg_snapshot_xmin(s.now)::text || ':' || pg_snapshot_xmax(s.now)::text || ':'
        || coalesce(
            (
                SELECT string_agg(u.xid::text, ',' ORDER BY u.xid)
                FROM (
                    SELECT x.xid FROM pg_snapshot_xip(s.now) AS x (xid)
                    UNION
                    SELECT s.own WHERE s.own < pg_snapshot_xmax(s.now)
                ) AS u
            ), ''
        )
    )::pg_snapshot
    FROM (SELECT pg_current_snapshot() AS now, pg_current_xact_id() AS own) AS s
$$;

COMMENT ON FUNCTION core._snapshot_of_others() IS 'pg_current_snapshot() with the calling transaction among those in progress: what it writes later is then not taken for seen.';
