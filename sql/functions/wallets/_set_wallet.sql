-- _set_wallet: change what an operator may change of a wallet, and write it down.
-- Locks    the wallet
-- Decides  by what the wallet is now: a closed one stays closed; the system's own stay open; closing needs nothing in it, held or owed; a minimum must
--          leave what is there allowed
-- Writes   wallets (status, minimum), audit_log, outbox 'wallet.frozen', 'wallet.unfrozen' or 'wallet.closed', for a minimum
--          'wallet.changed'; nothing where nothing changes
-- Errors   TS101 INVALID_REQUEST, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS311 WALLET_CLOSED,
--          TS323 WALLET_NOT_EMPTY, TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION core._set_wallet(
    p_wallet uuid,
    p_action text,
    p_status text,
    p_minimum bigint,
    p_reason text,
    p_actor uuid
) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_wallet core.wallets;
BEGIN
    PERFORM core._check_admin(p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM core._lock_wallets(ARRAY[p_wallet]);
    PERFORM core._expire_holds(ARRAY[p_wallet]);
    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = p_wallet;
    IF v_wallet.id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('wallet_id', p_wallet), 'Nothing was changed.');
    ELSIF v_wallet.status = coalesce(p_status, v_wallet.status) AND v_wallet.minimum = coalesce(p_minimum, v_wallet.minimum) THEN
        RETURN;
    ELSIF v_wallet.status = 'closed' THEN
        PERFORM core._raise('TS311', 'WALLET_CLOSED', jsonb_build_object('wallet_id', p_wallet), 'A closed wallet stays closed.');
    ELSIF p_status = 'closed' AND v_wallet.purpose IN ('issuance', 'revenue', 'rewards', 'payout_clearing') THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'wallet_id', 'purpose', v_wallet.purpose::text),
            'The system cannot do without this wallet.'
        );
    ELSIF p_status = 'closed' AND (v_wallet.balance, v_wallet.held, v_wallet.debt) <> (0, 0, 0) THEN
        PERFORM core._raise(
            'TS323', 'WALLET_NOT_EMPTY',
            jsonb_build_object('wallet_id', p_wallet, 'balance', v_wallet.balance, 'held', v_wallet.held, 'debt', v_wallet.debt),
            'Move what is in it, and release what is held, first.'
        );
    ELSIF p_minimum IS NOT NULL AND p_minimum NOT BETWEEN -9000000000000000000 AND 1000000000000000 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'minimum'), 'Nothing was changed.');
    ELSIF v_wallet.balance - v_wallet.held < p_minimum THEN
        PERFORM core._raise(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', p_minimum, 'current', v_wallet.balance - v_wallet.held,
                'shortfall', p_minimum - v_wallet.balance + v_wallet.held, 'asset', v_wallet.asset
            ),
            'The wallet has less than its new minimum.'
        );
    END IF;
    UPDATE core.wallets AS w
    SET
        status = coalesce(p_status, w.status), minimum = coalesce(p_minimum, w.minimum),
        debt = CASE WHEN w.debt > 0 THEN greatest(0, coalesce(p_minimum, w.minimum) + w.held - w.balance) ELSE 0 END
    WHERE w.id = p_wallet;
    IF p_status IS NULL THEN
        PERFORM core._wallet_event(p_wallet);
    ELSE
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            CASE p_status WHEN 'active' THEN 'wallet.unfrozen' WHEN 'closed' THEN 'wallet.closed' ELSE 'wallet.frozen' END,
            core._user_channels(v_wallet.owner_id, NULL) || 'ops'::text,
            jsonb_build_object(
                'wallet_id', p_wallet, 'owner_id', v_wallet.owner_id, 'asset', v_wallet.asset, 'status', p_status,
                'status_before', v_wallet.status
            )
        );
    END IF;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, p_action, p_wallet,
        jsonb_strip_nulls(jsonb_build_object(
            'reason', p_reason, 'status', p_status, 'status_before', CASE WHEN p_status IS NOT NULL THEN v_wallet.status END,
            'minimum', p_minimum, 'minimum_before', CASE WHEN p_minimum IS NOT NULL THEN v_wallet.minimum END
        ))
    );
END;
$$;

COMMENT ON FUNCTION core._set_wallet(uuid, text, text, bigint, text, uuid) IS
'Sets status or minimum of a wallet (NULL: as it is), with a reason, and writes it to the audit log.';
