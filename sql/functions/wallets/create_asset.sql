-- create_asset: one more thing that wallets can hold, with its system wallets.
-- Locks    nothing
-- Decides  the form of code, scale and name; that there is no such asset
-- Writes   assets, wallets (the system's), audit_log 'asset.created'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS324 ASSET_EXISTS, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.create_asset(
    p_code text,
    p_scale integer,
    p_name text,
    p_opens_with_user boolean DEFAULT false,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.wallets
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_field text := CASE
        WHEN p_code ~ '^[A-Z][A-Z0-9_]{1,15}$' IS NOT TRUE THEN 'code'
        WHEN (p_scale BETWEEN 0 AND 18) IS NOT TRUE THEN 'scale'
        WHEN (octet_length(p_name) BETWEEN 1 AND 80) IS NOT TRUE THEN 'name'
    END;
BEGIN
    PERFORM core._check_admin(p_actor);
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was created.');
    END IF;
    INSERT INTO core.assets (code, scale, name, opens_with_user)
    VALUES (p_code, p_scale, p_name, coalesce(p_opens_with_user, false))
    ON CONFLICT (code) DO NOTHING;
    IF NOT FOUND THEN
        PERFORM core._raise('TS324', 'ASSET_EXISTS', jsonb_build_object('asset', p_code), 'Nothing was created.');
    END IF;
    INSERT INTO core.wallets (purpose, asset, shard, minimum)
    SELECT s.purpose, p_code, g.shard, s.minimum
    FROM (VALUES
        ('issuance', 4, -9000000000000000000), ('revenue', 8, 0), ('rewards', 8, -9000000000000000000), ('payout_clearing', 1, 0)
    ) AS s (purpose, shards, minimum)
    CROSS JOIN LATERAL generate_series(0, s.shards - 1) AS g (shard);
    INSERT INTO core.audit_log (actor_id, action, details)
    VALUES (p_actor, 'asset.created', jsonb_build_object('asset', p_code, 'scale', p_scale, 'name', p_name));
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.asset = p_code ORDER BY w.purpose, w.shard;
END;
$$;

COMMENT ON FUNCTION api.create_asset(text, integer, text, boolean, uuid) IS
'Makes the asset p_code (an amount is a whole number of 10^-p_scale of it; money: 4) and its system wallets issuance, revenue, rewards and payout_clearing, which it returns. p_opens_with_user: users who register from now on get a wallet of it.';
