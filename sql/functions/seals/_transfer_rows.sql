-- _transfer_rows: transfers in the form that is sealed. What is here, in which order and type, is a format that others
-- compute too (docs/seals.md): it never changes.
-- Locks    nothing
-- Decides  an entry that is missing, or is not that of its transfer, shows as a balance of NULL
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._transfer_rows(p_from uuid, p_to uuid)
RETURNS TABLE (
    id uuid, from_wallet_id uuid, from_seq bigint, from_balance bigint, to_wallet_id uuid, to_seq bigint, to_balance bigint,
    amount bigint, asset text, kind text, reference text, metadata text, actor_id uuid, db_user text, event_at timestamptz,
    created_at timestamptz
)
LANGUAGE sql STABLE
AS $$
    SELECT
        t.id, t.from_wallet_id, t.from_seq::bigint, f.balance, t.to_wallet_id, t.to_seq::bigint, c.balance,
        t.amount::bigint, t.asset, t.kind, t.reference, t.metadata::text, t.actor_id, t.db_user, t.event_at, t.created_at
    FROM core.transfers AS t
    LEFT JOIN core.entries AS f
        ON f.wallet_id = t.from_wallet_id AND f.seq = t.from_seq AND f.transfer_id = t.id
        AND f.transfer_id >= p_from AND f.transfer_id < p_to
        AND f.amount::bigint = - t.amount::bigint AND f.created_at = t.created_at
    LEFT JOIN core.entries AS c
        ON c.wallet_id = t.to_wallet_id AND c.seq = t.to_seq AND c.transfer_id = t.id
        AND c.transfer_id >= p_from AND c.transfer_id < p_to
        AND c.amount::bigint = t.amount::bigint AND c.created_at = t.created_at
    WHERE t.id >= p_from AND t.id < p_to
$$;

COMMENT ON FUNCTION core._transfer_rows(uuid, uuid) IS 'Transfers with an id from p_from up to p_to, each with the balances of its two entries, in the columns and types that are sealed.';
