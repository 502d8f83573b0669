-- _give_back: undo transfers, wholly; each alone.
-- Locks    nothing; called when the wallets are locked (what was given back already is summed up under their locks)
-- Decides  what is left of each; then as core._post_transfers, where a payee who has spent it will owe it
-- Writes   wallets, transfers (refund), entries, refunds, outbox 'transfer.refunded'
-- Errors   those of core._post_transfers (returned, not raised)
CREATE OR REPLACE FUNCTION core._give_back(p_transfers uuid [], p_reason text, p_actor uuid) RETURNS SETOF core.transfer_result
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_originals uuid[];
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
BEGIN
    SELECT
        array_agg(m.id),
        array_agg(ROW(
            m.to_wallet_id, m.from_wallet_id, b.rest, m.asset, 'refund', p_reason, p_actor, NULL, NULL, NULL,
            jsonb_build_object('refund_of', m.id), NULL
        )::core.transfer_request)
    INTO v_originals, v_requests
    FROM unnest(p_transfers) AS p (id)
    CROSS JOIN LATERAL (SELECT t.* FROM core.transfers AS t WHERE t.id = p.id LIMIT 1) AS m
    CROSS JOIN LATERAL (
        SELECT m.amount::bigint - coalesce(sum(r.amount), 0)::bigint AS rest FROM core.refunds AS r WHERE r.original_id = m.id
    ) AS b
    WHERE b.rest > 0;
    v_results := core._post_transfers(coalesce(v_requests, '{}'), NULL, false, true);
    INSERT INTO core.refunds (original_id, transfer_id, amount, owed, policy, reason, created_at)
    SELECT
        o.original_id, o.transfer_id, o.amount,
        least(o.amount, greatest(0, w.minimum + w.held - o.from_balance)), 'create_debt', p_reason, o.created_at
    FROM ROWS FROM (unnest(v_originals), unnest(v_requests), unnest(v_results)) AS o (
        original_id, from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
        link, metadata, event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    )
    INNER JOIN core.wallets AS w ON w.id = o.from_wallet_id
    WHERE o.error_code IS NULL;
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'transfer.refunded', core._user_channels(o.from_owner_id, o.to_owner_id),
        core._transfer_payload(
            o.transfer_id, o.from_wallet_id, o.to_wallet_id, o.amount, o.asset, 'refund', p_reason, o.created_at
        ) || jsonb_build_object('original_id', o.original_id)
    FROM ROWS FROM (unnest(v_originals), unnest(v_requests), unnest(v_results)) AS o (
        original_id, from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
        link, metadata, event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
        error_code, error, detail
    )
    WHERE o.error_code IS NULL;
    RETURN QUERY SELECT r.* FROM unnest(v_results) AS r;
END;
$$;

COMMENT ON FUNCTION core._give_back(uuid [], text, uuid) IS
'Gives back what is left of transfers, each alone; one result for each that had anything left. Payees who have spent it owe it.';
