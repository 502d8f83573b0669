-- open_wallet: a user's wallet of an asset.
-- Locks    nothing
-- Decides  that user and asset exist
-- Writes   wallets, unless the user has one
-- Errors   TS211 USER_NOT_FOUND, TS213 ASSET_NOT_FOUND
CREATE OR REPLACE FUNCTION api.open_wallet(p_owner uuid, p_asset text) RETURNS SETOF api.wallets
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_owner) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_owner), 'Nothing was opened.');
    ELSIF NOT EXISTS (SELECT FROM core.assets AS a WHERE a.code = p_asset) THEN
        PERFORM core._raise('TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset), 'Nothing was opened.');
    END IF;
    -- Before the wallet's id is made, which may then wait for somebody who opens the same: what is sealed (api.seal_entries)
    -- is told by ids that are no older than the number of their transaction.
    PERFORM pg_current_xact_id();
    INSERT INTO core.wallets (owner_id, asset) VALUES (p_owner, p_asset)
    ON CONFLICT (owner_id, asset) WHERE owner_id IS NOT NULL DO NOTHING;
    RETURN QUERY SELECT w.* FROM api.wallets AS w WHERE w.owner_id = p_owner AND w.asset = p_asset;
END;
$$;

COMMENT ON FUNCTION api.open_wallet(uuid, text) IS
'The wallet of user p_owner for asset p_asset; opened, empty, if there is none. Assets that open with a user need no call.';
