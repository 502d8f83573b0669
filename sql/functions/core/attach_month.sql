-- attach_month: put back the months that were detached last.
-- Locks    one run at a time; the tables, for milliseconds after all is computed
-- Decides  that the tables are there; that entries lead from what was brought forward before them to what was brought forward with them
-- Writes   core.partitions, core.partitioned, core.brought_forward, audit_log 'months.attached'
-- Errors   TS101 INVALID_REQUEST, TS902 INVARIANT_VIOLATED; 55P03 when a lock is not to be had in 0.3 s: try again
CREATE OR REPLACE FUNCTION api.attach_month(p_what text) RETURNS text []
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_missing CONSTANT text [] := ARRAY(
        SELECT p.name
        FROM core.partitions AS p
        INNER JOIN core.partitioned AS t ON t.name = p.table_name
        WHERE (t.name = p_what OR (p_what = 'books' AND t.books))
            AND p.detached_to = t.attached_from AND to_regclass(format('core.%I', p.name)) IS NULL
        ORDER BY p.name
    );
BEGIN
    IF cardinality(v_missing) > 0 THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_what', 'value', p_what, 'elsewhere', v_missing),
            'Restore these tables first.'
        );
    END IF;
    RETURN core._months_moved('months.attached', p_what, core._move_month(p_what, false));
END;
$$;

REVOKE EXECUTE ON FUNCTION api.attach_month(text) FROM tessera_app, tessera_scheduler;
COMMENT ON FUNCTION api.attach_month(text) IS
'Attaches the months of p_what (books, outbox, audit_log) that api.detach_month took out last, and returns the names of the partitions; none when nothing is detached. They must be what they were: TS902 otherwise. docs/growth.md.';
