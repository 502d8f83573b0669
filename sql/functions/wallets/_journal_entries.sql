-- _journal_entries: the legs of a posted journal, as api.post_journal returns them.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._journal_entries(p_requests core.transfer_request [], p_results core.transfer_result [])
RETURNS SETOF api.journal_entry
LANGUAGE sql IMMUTABLE
AS $$
    SELECT
        q.ord::integer, r.transfer_id, q.from_wallet_id, q.to_wallet_id, q.amount, q.asset, r.from_balance, r.to_balance,
        r.created_at, false
    FROM unnest(p_requests) WITH ORDINALITY AS q (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link, metadata,
        event_at, ord
    )
    CROSS JOIN LATERAL (SELECT (p_results[q.ord]).*) AS r
$$;

COMMENT ON FUNCTION core._journal_entries(core.transfer_request [], core.transfer_result []) IS
'Requests and their results side by side.';
