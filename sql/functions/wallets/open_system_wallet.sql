-- open_system_wallet: a wallet of the platform's own, for a purpose.
-- Locks    nothing
-- Decides  that the asset exists; the form of purpose, shards and minimum
-- Writes   wallets, those that there are not yet; audit_log 'wallet.opened'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS213 ASSET_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.open_system_wallet(
    p_purpose text,
    p_asset text,
    p_minimum bigint DEFAULT 0,
    p_shards integer DEFAULT 1,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.wallets
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_field text := CASE
        WHEN p_purpose ~ '^[a-z][a-z0-9_]{1,31}$' IS NOT TRUE OR p_purpose = 'user' THEN 'purpose'
        WHEN (p_minimum BETWEEN -9000000000000000000 AND 0) IS NOT TRUE THEN 'minimum'
        WHEN (p_shards BETWEEN 1 AND 64) IS NOT TRUE THEN 'shards'
    END;
    v_count integer;
BEGIN
    PERFORM core._check_admin(p_actor);
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was opened.');
    ELSIF NOT EXISTS (SELECT FROM core.assets AS a WHERE a.code = p_asset) THEN
        PERFORM core._raise('TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset), 'Nothing was opened.');
    END IF;
    -- Before the wallet's id is made, which may then wait for somebody who opens the same: what is sealed (api.seal_entries)
    -- is told by ids that are no older than the number of their transaction.
    PERFORM pg_current_xact_id();
    INSERT INTO core.wallets (purpose, asset, shard, minimum)
    SELECT p_purpose, p_asset, g.shard, p_minimum FROM generate_series(0, p_shards - 1) AS g (shard)
    ON CONFLICT (purpose, asset, shard) WHERE owner_id IS NULL DO NOTHING;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    IF v_count > 0 THEN
        INSERT INTO core.audit_log (actor_id, action, details)
        VALUES (
            p_actor, 'wallet.opened',
            jsonb_build_object('purpose', p_purpose, 'asset', p_asset, 'minimum', p_minimum, 'opened', v_count)
        );
    END IF;
    RETURN QUERY
    SELECT w.* FROM api.wallets AS w WHERE w.owner_id IS NULL AND w.purpose = p_purpose AND w.asset = p_asset ORDER BY w.shard;
END;
$$;

COMMENT ON FUNCTION api.open_system_wallet(text, text, bigint, integer, uuid) IS
'The platform''s wallet for p_purpose (liquidity, escrow…) of asset p_asset, opened if there is none; p_minimum at most 0: how far below zero it may go; p_shards: how many it is split into where it would be hot (their sum counts).';
