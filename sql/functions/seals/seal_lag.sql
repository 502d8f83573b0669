-- seal_lag: how long the oldest thing that is not sealed yet has been there.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.seal_lag() RETURNS interval
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_seqscan = off
AS $$
    SELECT greatest(clock_timestamp() - core._uuid_time(o.id), interval '0')
    FROM (
        SELECT least(
            (SELECT t.id FROM core.transfers AS t WHERE t.id >= s.to_id ORDER BY t.id LIMIT 1),
            (SELECT w.id FROM core.wallets AS w WHERE w.id >= s.to_id ORDER BY w.id LIMIT 1),
            (SELECT l.id FROM core.audit_log AS l WHERE l.id >= s.to_id ORDER BY l.id LIMIT 1)
        ) AS id
        FROM (
            SELECT coalesce((SELECT z.to_id FROM core.seals AS z ORDER BY z.block DESC LIMIT 1), '00000000-0000-0000-0000-000000000000') AS to_id
        ) AS s
    ) AS o
    WHERE o.id IS NOT NULL
$$;

COMMENT ON FUNCTION api.seal_lag() IS 'Age of the oldest transfer, wallet or act that no seal covers yet; NULL when there is none. More than a minute or two: the scheduler does not run, or a transaction has been open for that long.';
