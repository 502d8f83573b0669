-- detach_month: take the oldest months out of their tables.
-- Locks    one run at a time; the tables, for milliseconds after all is computed
-- Decides  the oldest partitions that are over for as long as core.partitioned.keep says; of the books all three tables at once
-- Writes   core.partitions, core.partitioned, core.brought_forward, audit_log 'months.detached'
-- Errors   TS101 INVALID_REQUEST, TS902 INVARIANT_VIOLATED; 55P03 when a lock is not to be had in 0.3 s: try again
CREATE OR REPLACE FUNCTION api.detach_month(p_what text) RETURNS text []
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN core._months_moved('months.detached', p_what, core._move_month(p_what, true));
END;
$$;

REVOKE EXECUTE ON FUNCTION api.detach_month(text) FROM tessera_app, tessera_scheduler;
COMMENT ON FUNCTION api.detach_month(text) IS
'Detaches the oldest months of p_what (books, outbox, audit_log) that are over for longer than they are kept, and returns the names of the partitions, now tables of their own; none when nothing is that old. Balances, the auditor and new money go on as before; statements, transfers and replays of those months do not. docs/growth.md.';
