-- transfer: move money from one wallet to another. The batch of one.
-- Locks    both wallets, in id order
-- Decides  as api.transfer_batch
-- Writes   wallets, transfers, entries, idempotency_keys, outbox 'transfer.posted'
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS103 ASSET_MISMATCH, TS104 SELF_TRANSFER, TS105 METADATA_TOO_LARGE,
--          TS106 IDEMPOTENCY_KEY_INVALID, TS109 INVALID_KIND, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT,
--          TS401 INSUFFICIENT_TOKENS, TS501 NOT_WALLET_OWNER, TS502 USER_SUSPENDED, TS601 VELOCITY_LIMIT
CREATE OR REPLACE FUNCTION api.transfer(
    p_from uuid,
    p_to uuid,
    p_amount bigint,
    p_asset text DEFAULT 'TOKEN',
    p_key text DEFAULT NULL,
    p_kind text DEFAULT 'transfer',
    p_reference text DEFAULT NULL,
    p_actor uuid DEFAULT NULL,
    p_metadata jsonb DEFAULT NULL,
    p_event_at timestamptz DEFAULT NULL
) RETURNS api.transfer_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_status text;
    v_result core.transfer_result;
BEGIN
    IF p_actor IS NOT NULL THEN
        SELECT u.status INTO v_status FROM core.users AS u WHERE u.id = p_actor;
    END IF;
    v_result := core._post_one(
        ROW(
            p_from, p_to, p_amount, p_asset, p_kind, p_reference, p_actor, p_key,
            core._request_hash(p_key, record_send(ROW(
                'transfer'::text, p_from, p_to, p_amount, p_asset, p_kind, p_reference, p_metadata, p_event_at
            ))),
            NULL, p_metadata, p_event_at
        ),
        core._check_transfer(p_kind, p_reference, p_metadata, p_key, p_actor, v_status, p_event_at), true
    );
    RETURN ROW(
        v_result.transfer_id, v_result.from_balance, v_result.to_balance, v_result.created_at, v_result.replayed
    )::api.transfer_receipt;
END;
$$;

COMMENT ON FUNCTION api.transfer(uuid, uuid, bigint, text, text, text, text, uuid, jsonb, timestamptz) IS
'Moves p_amount (minor units of p_asset, 1 to 10^15) from wallet p_from to wallet p_to; returns the transfer and both balances after it. p_key makes it safe to repeat: the same key and request return the first transfer again (replayed), the same key with another request is TS301. p_actor, if given, must own p_from; else the transfer records session_user. p_kind: why, lower case, and none of tip, fee, refund, reward, referral, adjustment, stream_ticket, call_block, which are made by functions of their own; p_reference: up to 255 bytes; p_metadata: up to 4 KiB; p_event_at: when it happened, if that was earlier. Call it inside any transaction, at any isolation level.';
