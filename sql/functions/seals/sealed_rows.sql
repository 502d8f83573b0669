-- sealed_rows: the content of a block, as it is there now, for somebody who checks it without this database.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none: no rows for a block that does not exist
CREATE OR REPLACE FUNCTION api.sealed_rows(p_block bigint) RETURNS TABLE (what text, fields jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
    SELECT r.what, r.fields
    FROM (
        SELECT
            1 AS part, t.id, 'transfer' AS what,
            jsonb_build_array(
                t.id, t.from_wallet_id, t.from_seq, t.from_balance, t.to_wallet_id, t.to_seq, t.to_balance, t.amount, t.asset,
                t.kind, t.reference, t.metadata, t.actor_id, t.db_user, core._microseconds(t.event_at),
                core._microseconds(t.created_at)
            ) AS fields
        FROM core.seals AS s
        CROSS JOIN LATERAL core._transfer_rows(s.from_id, s.to_id) AS t
        WHERE s.block = p_block
        UNION ALL
        SELECT
            2, w.id, 'wallet',
            jsonb_build_array(w.id, w.owner_id, w.purpose, w.asset, w.shard, core._microseconds(w.created_at))
        FROM core.seals AS s
        CROSS JOIN LATERAL core._wallet_rows(s.from_id, s.to_id) AS w
        WHERE s.block = p_block
        UNION ALL
        SELECT
            3, l.id, 'act',
            jsonb_build_array(
                l.id, core._microseconds(l.created_at), l.actor_id, l.db_user, l.action, l.subject_id, l.details, l.request_id,
                l.address
            )
        FROM core.seals AS s
        CROSS JOIN LATERAL core._act_rows(s.from_id, s.to_id) AS l
        WHERE s.block = p_block
    ) AS r
    ORDER BY r.part, r.id
$$;

REVOKE EXECUTE ON FUNCTION api.sealed_rows(bigint) FROM tessera_app, tessera_scheduler;
COMMENT ON FUNCTION api.sealed_rows(bigint) IS
'The rows of a sealed block in the order in which they were sealed, each as an array of its columns; times as microseconds since 2000-01-01 00:00 UTC. tessera audit --export writes them to a file (docs/seals.md).';
