-- detach_month: take the oldest months out of their tables.
-- Locks    one run at a time; the tables, for milliseconds after all is computed; of the outbox core.relay_state
-- Decides  the oldest partitions that are over for as long as core.partitioned.keep says; of the books all three tables at once;
--          of the outbox, that the relay and the channels need none of it
-- Writes   core.partitions, core.partitioned, core.brought_forward, audit_log 'months.detached'
-- Errors   TS101 INVALID_REQUEST, TS346 EVENTS_NEEDED, TS902 INVARIANT_VIOLATED; 55P03 when a lock is not to be had in 0.3 s: try
--          again
CREATE OR REPLACE FUNCTION api.detach_month(p_what text) RETURNS text []
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_needed CONSTANT timestamptz := CASE WHEN p_what = 'outbox' THEN core._oldest_needed() END;
    v_moved CONSTANT text [] := core._move_month(p_what, true);
    v_to CONSTANT timestamptz := (SELECT p.attached_from FROM core.partitioned AS p WHERE p.name = p_what);
BEGIN
    IF cardinality(v_moved) > 0 AND v_needed < v_to THEN
        PERFORM core._raise(
            'TS346', 'EVENTS_NEEDED', jsonb_build_object('what', p_what, 'from', v_needed),
            'The relay has not read all of it, or its events can still be read from their channels (rate channel_events_kept).'
        );
    END IF;
    RETURN core._months_moved('months.detached', p_what, v_moved);
END;
$$;

REVOKE EXECUTE ON FUNCTION api.detach_month(text) FROM tessera_app, tessera_scheduler;
COMMENT ON FUNCTION api.detach_month(text) IS
'Detaches the oldest months of p_what (books, outbox, audit_log) that are over for longer than they are kept, and returns the names of the partitions, now tables of their own; none when nothing is that old. Balances, the auditor and new money go on as before; statements, transfers and replays of those months do not. Of the outbox nothing that the relay or a channel needs (TS346). docs/growth.md.';
