-- _system_wallet: which of a system wallet's shards a caller uses.
-- Locks    nothing
-- Decides  the shard: by the id given, so that a repeated request names the same wallet
-- Writes   nothing
-- Errors   TS213 ASSET_NOT_FOUND
CREATE OR REPLACE FUNCTION core._system_wallet(p_purpose text, p_asset text, p_for uuid) RETURNS uuid
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_ids uuid[];
BEGIN
    SELECT array_agg(w.id ORDER BY w.shard)
    INTO v_ids
    FROM core.wallets AS w
    WHERE w.owner_id IS NULL AND w.purpose = p_purpose AND w.asset = p_asset;
    IF v_ids IS NULL THEN
        PERFORM core._raise(
            'TS213', 'ASSET_NOT_FOUND', jsonb_build_object('asset', p_asset, 'purpose', p_purpose),
            'No system wallet of this purpose holds this asset.'
        );
    END IF;
    RETURN v_ids[1 + get_byte(uuid_send(p_for), 15) % cardinality(v_ids)];
END;
$$;

COMMENT ON FUNCTION core._system_wallet(text, text, uuid) IS
'The shard of a system wallet that is used on behalf of the row with this id.';
