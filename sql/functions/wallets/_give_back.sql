-- _give_back: undo transfers, wholly or in part; each alone.
-- Locks    both wallets of each, in id order (what is left of them all is right only if they are locked before)
-- Decides  what is left of each; then as core._post_transfers, where a payee who has spent it may come to owe it
-- Writes   wallets, transfers (refund), entries, refunds, outbox 'transfer.refunded'
-- Errors   those of core._post_transfers (returned, not raised)
CREATE OR REPLACE FUNCTION core._give_back(
    p_transfers uuid [], p_reason text, p_actor uuid, p_amounts bigint [] DEFAULT NULL, p_policy text DEFAULT 'create_debt'
) RETURNS SETOF core.transfer_result
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
    FROM unnest(p_transfers, p_amounts) AS p (id, amount)
    CROSS JOIN LATERAL (SELECT t.* FROM core.transfers AS t WHERE t.id = p.id LIMIT 1) AS m
    CROSS JOIN LATERAL (
        SELECT coalesce(p.amount, m.amount::bigint - coalesce(sum(r.amount), 0)::bigint) AS rest
        FROM core.refunds AS r WHERE r.original_id = m.id
    ) AS b
    WHERE p.amount IS NOT NULL OR b.rest > 0;
    v_results := core._post_transfers(coalesce(v_requests, '{}'), NULL, false, p_policy = 'create_debt');
    INSERT INTO core.refunds (original_id, transfer_id, amount, owed, policy, reason, created_at)
    SELECT
        o.original_id, o.transfer_id, o.amount,
        least(o.amount, greatest(0, w.minimum + w.held - o.from_balance)), p_policy, p_reason, o.created_at
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
    -- between two wallets of the system's own there is nobody to tell
    WHERE o.error_code IS NULL AND coalesce(o.from_owner_id, o.to_owner_id) IS NOT NULL;
    RETURN QUERY SELECT r.* FROM unnest(v_results) AS r;
END;
$$;

COMMENT ON FUNCTION core._give_back(uuid [], text, uuid, bigint [], text) IS
'Gives back of transfers what p_amounts says, of which the caller knows that so much is left, or (NULL) what is left; each alone. One result for each that had anything left. p_policy is that of api.refund_transfer: with create_debt, payees who have spent it owe it.';
