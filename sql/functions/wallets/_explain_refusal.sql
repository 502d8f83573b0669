-- _explain_refusal: why core._post_transfers refused a request, once it knows that it does.
-- Locks    nothing
-- Decides  the first rule that the request breaks, in the order in which they are listed
-- Writes   nothing
-- Errors   TS102 INVALID_AMOUNT, TS210 WALLET_NOT_FOUND, TS104 SELF_TRANSFER, TS103 ASSET_MISMATCH, TS501 NOT_WALLET_OWNER,
--          TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS401 INSUFFICIENT_TOKENS, TS314 BALANCE_LIMIT (returned, not raised)
CREATE OR REPLACE FUNCTION core._explain_refusal(
    p_requests core.transfer_request [],
    p_position integer,
    p_start integer,
    p_wallets core.locked_wallets,
    p_slots integer [],
    p_balances bigint [],
    p_payer_is_actor boolean
) RETURNS core.refusal
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_request CONSTANT core.transfer_request := p_requests[p_position];
    v_from CONSTANT integer := p_slots[2 * p_position - 1];
    v_to CONSTANT integer := p_slots[2 * p_position];
    v_shut integer := CASE
        WHEN p_wallets.statuses[v_from] <> 'active' THEN v_from
        WHEN p_wallets.statuses[v_to] NOT IN ('active', 'debits_frozen') THEN v_to
    END;
    v_spendable CONSTANT bigint := p_balances[v_from] - p_wallets.floors[v_from];
    v_required bigint := 0;
BEGIN
    IF v_request.amount IS NULL OR v_request.amount NOT BETWEEN 1 AND 1000000000000000 THEN
        RETURN ROW(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', v_request.amount, 'minimum', 1, 'maximum', 1000000000000000)
        )::core.refusal;
    ELSIF v_from = 0 OR v_to = 0 THEN
        RETURN ROW(
            'TS210', 'WALLET_NOT_FOUND',
            jsonb_build_object('wallet_id', CASE WHEN v_from = 0 THEN v_request.from_wallet_id ELSE v_request.to_wallet_id END)
        )::core.refusal;
    ELSIF v_from = v_to THEN
        RETURN ROW('TS104', 'SELF_TRANSFER', jsonb_build_object('wallet_id', v_request.from_wallet_id))::core.refusal;
    ELSIF v_request.asset IS DISTINCT FROM p_wallets.assets[v_from] OR v_request.asset IS DISTINCT FROM p_wallets.assets[v_to] THEN
        RETURN ROW(
            'TS103', 'ASSET_MISMATCH',
            jsonb_build_object(
                'asset', v_request.asset, 'from_asset', p_wallets.assets[v_from], 'to_asset', p_wallets.assets[v_to]
            )
        )::core.refusal;
    ELSIF p_payer_is_actor AND v_request.actor_id IS DISTINCT FROM p_wallets.owner_ids[v_from] AND v_request.actor_id IS NOT NULL THEN
        RETURN ROW('TS501', 'NOT_WALLET_OWNER', jsonb_build_object('wallet_id', v_request.from_wallet_id))::core.refusal;
    ELSIF v_shut IS NOT NULL THEN
        RETURN ROW(
            CASE p_wallets.statuses[v_shut] WHEN 'closed' THEN 'TS311' ELSE 'TS310' END,
            CASE p_wallets.statuses[v_shut] WHEN 'closed' THEN 'WALLET_CLOSED' ELSE 'WALLET_FROZEN' END,
            jsonb_build_object('wallet_id', p_wallets.ids[v_shut], 'wallet_status', p_wallets.statuses[v_shut])
        )::core.refusal;
    END IF;
    -- all legs of a group that the same wallet pays
    FOR v_i IN p_start..cardinality(p_requests) LOOP
        EXIT WHEN v_i > p_start AND (p_requests[v_i]).link IS DISTINCT FROM v_request.link OR v_i > p_position AND v_request.link IS NULL;
        IF p_slots[2 * v_i - 1] = v_from THEN
            v_required := v_required + (p_requests[v_i]).amount;
        END IF;
    END LOOP;
    IF v_spendable < v_required THEN
        RETURN ROW(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', v_required, 'current', v_spendable, 'shortfall', v_required - v_spendable,
                'asset', v_request.asset
            )
        )::core.refusal;
    END IF;
    RETURN ROW('TS314', 'BALANCE_LIMIT', jsonb_build_object('wallet_id', p_wallets.ids[v_to]))::core.refusal;
END;
$$;

COMMENT ON FUNCTION core._explain_refusal(
    core.transfer_request [], integer, integer, core.locked_wallets, integer [], bigint [], boolean
) IS
'Names the rule that a refused transfer request breaks: error code, slug, and the facts a caller can act on.';
