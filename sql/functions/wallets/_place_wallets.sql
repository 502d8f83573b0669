-- _place_wallets: where the wallets of a batch stand among the locked ones, when some of them do not exist.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._place_wallets(p_requests core.transfer_request [], p_ids uuid []) RETURNS integer []
LANGUAGE sql IMMUTABLE
AS $$
    SELECT array_agg(coalesce(array_position(p_ids, s.wallet_id), 0) ORDER BY s.ord, s.side)
    FROM (
        SELECT r.ord, v.side, v.wallet_id
        FROM unnest(p_requests) WITH ORDINALITY AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
            metadata, event_at, ord
        )
        CROSS JOIN LATERAL (VALUES (1, r.from_wallet_id), (2, r.to_wallet_id)) AS v (side, wallet_id)
    ) AS s
$$;

COMMENT ON FUNCTION core._place_wallets(core.transfer_request [], uuid []) IS
'Positions of payer (2i - 1) and payee (2i) of each request among the locked wallets; 0 for one that does not exist. The slow way, for batches that name a missing wallet.';
