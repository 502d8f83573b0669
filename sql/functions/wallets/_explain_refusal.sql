-- _explain_refusal: why core._post_transfers refused a request, once it knows that it does.
-- Locks    nothing
-- Decides  the first rule that the request breaks, in the order in which they are listed
-- Writes   nothing
-- Errors   TS102 INVALID_AMOUNT, TS210 WALLET_NOT_FOUND, TS104 SELF_TRANSFER, TS103 ASSET_MISMATCH, TS501 NOT_WALLET_OWNER,
--          TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS401 INSUFFICIENT_TOKENS, TS314 BALANCE_LIMIT (returned, not raised)
CREATE OR REPLACE FUNCTION core._explain_refusal(
    p_request core.transfer_request,
    p_wallets core.locked_wallets,
    p_from integer,
    p_to integer,
    p_spendable bigint,
    p_payer_is_actor boolean
) RETURNS core.refusal
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_shut integer := CASE WHEN p_wallets.statuses[p_from] <> 'active' THEN p_from ELSE p_to END;
BEGIN
    IF p_request.amount IS NULL OR p_request.amount NOT BETWEEN 1 AND 1000000000000000 THEN
        RETURN ROW(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', p_request.amount, 'minimum', 1, 'maximum', 1000000000000000)
        )::core.refusal;
    ELSIF p_from = 0 OR p_to = 0 THEN
        RETURN ROW(
            'TS210', 'WALLET_NOT_FOUND',
            jsonb_build_object('wallet_id', CASE WHEN p_from = 0 THEN p_request.from_wallet_id ELSE p_request.to_wallet_id END)
        )::core.refusal;
    ELSIF p_from = p_to THEN
        RETURN ROW('TS104', 'SELF_TRANSFER', jsonb_build_object('wallet_id', p_request.from_wallet_id))::core.refusal;
    ELSIF p_request.asset IS DISTINCT FROM p_wallets.assets[p_from] OR p_request.asset IS DISTINCT FROM p_wallets.assets[p_to] THEN
        RETURN ROW(
            'TS103', 'ASSET_MISMATCH',
            jsonb_build_object(
                'asset', p_request.asset, 'from_asset', p_wallets.assets[p_from], 'to_asset', p_wallets.assets[p_to]
            )
        )::core.refusal;
    ELSIF p_payer_is_actor AND p_request.actor_id IS DISTINCT FROM p_wallets.owner_ids[p_from] AND p_request.actor_id IS NOT NULL THEN
        RETURN ROW('TS501', 'NOT_WALLET_OWNER', jsonb_build_object('wallet_id', p_request.from_wallet_id))::core.refusal;
    ELSIF p_wallets.statuses[v_shut] <> 'active' THEN
        RETURN ROW(
            CASE p_wallets.statuses[v_shut] WHEN 'closed' THEN 'TS311' ELSE 'TS310' END,
            CASE p_wallets.statuses[v_shut] WHEN 'closed' THEN 'WALLET_CLOSED' ELSE 'WALLET_FROZEN' END,
            jsonb_build_object('wallet_id', p_wallets.ids[v_shut])
        )::core.refusal;
    ELSIF p_spendable < p_request.amount THEN
        RETURN ROW(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', p_request.amount, 'current', p_spendable, 'shortfall', p_request.amount - p_spendable,
                'asset', p_request.asset
            )
        )::core.refusal;
    END IF;
    RETURN ROW('TS314', 'BALANCE_LIMIT', jsonb_build_object('wallet_id', p_wallets.ids[p_to]))::core.refusal;
END;
$$;

COMMENT ON FUNCTION core._explain_refusal(core.transfer_request, core.locked_wallets, integer, integer, bigint, boolean) IS
'Names the rule that a refused transfer request breaks: error code, slug, and the facts a caller can act on.';
