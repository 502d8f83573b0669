-- What services may say in the audit log, and how long the moving of months keeps others waiting.

-- What was done, to what and from where. Not when, by which login, or before what else: an act could be dated into months
-- that are sealed, or into a partition of the far future.
REVOKE INSERT ON core.audit_log FROM tessera_app, tessera_scheduler;
GRANT INSERT (actor_id, action, subject_id, details, request_id, address) ON core.audit_log TO tessera_app, tessera_scheduler;

-- Months are detached in the order in which money locks the tables (transfers first): money that waits for one of them
-- then holds none of the others. Reading may have another order, so all waiting together ends before a deadlock is looked
-- for (deadlock_timeout, 1 s): whoever moves months gives up, nobody else.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef('core._move_month(text, boolean)'::regprocedure), 'ORDER BY p.name LOOP', 'ORDER BY p.name DESC LOOP'
    );
END;
$$;
ALTER FUNCTION core._move_month(text, boolean) SET lock_timeout = '300ms';
