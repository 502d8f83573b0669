-- request_payout: a user asks for tokens as money; the tokens are held at once.
-- Locks    the account, FOR SHARE; the wallet
-- Decides  under the lock: the key; that the account is the user's; the minimum, the limits of the day, what can be spent,
--          what is old enough; whether an operator has to look at it
-- Writes   payouts, holds, wallets (held), idempotency_keys, outbox 'hold.placed', 'payout.requested', 'payout.held'
-- Errors   TS101 INVALID_REQUEST, TS102 INVALID_AMOUNT, TS106 IDEMPOTENCY_KEY_INVALID, TS160 PAYOUT_TOO_SMALL,
--          TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS261 PAYOUT_ACCOUNT_NOT_FOUND, TS301 IDEMPOTENCY_KEY_REUSED,
--          TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS401 INSUFFICIENT_TOKENS, TS460 EARNINGS_PENDING,
--          TS502 USER_SUSPENDED, TS660 PAYOUT_LIMIT, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.request_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text DEFAULT NULL)
RETURNS api.payout_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('payout'::text, p_amount, p_account)));
    v_wallet_id CONSTANT uuid := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_user AND w.asset = 'TOKEN');
    v_account core.payout_accounts;
    v_stored jsonb;
    v_price numeric;
    v_money numeric;
    v_minimum bigint;
    v_day timestamptz;
    v_count bigint;
    v_asked bigint;
    v_free bigint;
    v_pending bigint;
    v_hold api.hold_receipt;
    v_payout core.payouts;
    v_receipt api.payout_receipt;
BEGIN
    v_account := core._share_payout_account(p_account, p_user);
    PERFORM core._lock_wallets(ARRAY[v_wallet_id]);

    v_stored := core._stored_result(p_user, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        RETURN jsonb_populate_record(NULL::api.payout_receipt, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._check_actor(p_user);
    IF v_wallet_id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('user_id', p_user, 'asset', 'TOKEN'), 'Nothing was held.');
    ELSIF v_account.id IS NULL OR v_account.removed_at IS NOT NULL THEN
        PERFORM core._raise(
            'TS261', 'PAYOUT_ACCOUNT_NOT_FOUND', jsonb_build_object('account_id', p_account), 'Add an account first.'
        );
    ELSIF (p_amount BETWEEN 1 AND 1000000000000000) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object('amount', p_amount, 'minimum', 1, 'maximum', 1000000000000000), 'Nothing was held.'
        );
    END IF;

    v_price := core._rate('token_value', 'TOKEN');
    v_minimum := core._rate('minimum_payout', 'TOKEN');
    v_money := floor(p_amount * v_price / nullif(core._rate('currency_value', p_scope => lower(v_account.currency)), 0) * 100) * 100;
    IF p_amount < v_minimum OR (v_money > 0) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS160', 'PAYOUT_TOO_SMALL', jsonb_build_object('amount', p_amount, 'minimum', v_minimum), 'Ask for more at once.'
        );
    END IF;

    v_day := date_trunc('day', clock_timestamp(), 'UTC');
    SELECT count(*), coalesce(sum(p.amount), 0)::bigint INTO v_count, v_asked
    FROM core.payouts AS p
    WHERE
        p.user_id = p_user AND p.id >= core._uuid_floor(v_day) AND p.created_at >= v_day
        AND p.status NOT IN ('failed', 'cancelled');
    IF v_count >= core._rate('payout_day_count', 'TOKEN') OR v_asked + p_amount > core._rate('payout_day_amount', 'TOKEN') THEN
        PERFORM core._raise(
            'TS660', 'PAYOUT_LIMIT',
            jsonb_build_object(
                'count', v_count, 'count_limit', core._rate('payout_day_count', 'TOKEN')::bigint, 'amount', v_asked,
                'amount_limit', core._rate('payout_day_amount', 'TOKEN')::bigint, 'resets_at', v_day + interval '1 day',
                'retry_after', ceil(extract(EPOCH FROM v_day + interval '1 day' - clock_timestamp()))::integer
            ),
            'Ask again tomorrow (UTC).'
        );
    END IF;

    PERFORM core._expire_holds(ARRAY[v_wallet_id]);
    v_free := (
        SELECT w.balance - w.held - greatest(w.minimum, 0) FROM core.wallets AS w WHERE w.id = v_wallet_id
    );
    v_pending := core._pending_earnings(v_wallet_id, 'TOKEN');
    IF p_amount <= v_free AND p_amount > v_free - v_pending THEN
        PERFORM core._raise(
            'TS460', 'EARNINGS_PENDING',
            jsonb_build_object(
                'required', p_amount, 'payable', greatest(v_free - v_pending, 0), 'pending', v_pending,
                'days', core._rate('earnings_maturity', 'TOKEN')::integer
            ),
            'What came in lately can be paid out when it is old enough.'
        );
    END IF;

    -- a currency may be worth next to nothing
    IF greatest(v_money, p_amount * v_price * 10000) > 1000000000000000000 THEN
        PERFORM core._raise(
            'TS102', 'INVALID_AMOUNT',
            jsonb_build_object(
                'amount', p_amount, 'minimum', v_minimum,
                'maximum', floor(p_amount::numeric * 1000000000000000000 / greatest(v_money, p_amount * v_price * 10000))::bigint
            ),
            'It is too much at once.'
        );
    END IF;
    v_payout.value := floor(p_amount * v_price * 10000);
    v_payout.payout_amount := v_money;
    v_payout.id := core.uuid7();
    v_hold := core._place_hold(
        v_wallet_id, p_amount, make_interval(days => core._rate('payout_open')::integer), NULL, 'payout', v_payout.id::text,
        p_user, NULL, true
    );
    v_payout.reason := core._payout_review(v_account, p_amount);
    INSERT INTO core.payouts AS n (
        id, user_id, wallet_id, account_id, hold_id, amount, value, payout_amount, token_value, currency, provider, status, reason,
        created_at, expected_at, next_at
    )
    VALUES (
        v_payout.id, p_user, v_wallet_id, p_account, v_hold.hold_id, p_amount, v_payout.value, v_payout.payout_amount, v_price,
        v_account.currency, v_account.provider, CASE WHEN v_payout.reason IS NULL THEN 'requested' ELSE 'held' END,
        v_payout.reason, v_hold.created_at,
        v_hold.created_at + make_interval(days => core._rate('payout_expected')::integer),
        CASE WHEN v_payout.reason IS NULL THEN v_hold.created_at ELSE v_hold.expires_at END
    )
    RETURNING n.* INTO v_payout;
    v_receipt := ROW(
        v_payout.id, v_payout.status, v_payout.reason, p_amount, v_payout.value, v_payout.currency, v_payout.payout_amount,
        v_hold.balance, v_hold.spendable, v_payout.expected_at, v_payout.created_at, false
    );
    PERFORM core._store_result(p_user, p_key, v_hash, to_jsonb(v_receipt));
    PERFORM core._payout_event('payout.requested', v_payout);
    IF v_payout.status = 'held' THEN
        PERFORM core._payout_event('payout.held', v_payout);
    END IF;
    RETURN v_receipt;
END;
$$;

COMMENT ON FUNCTION api.request_payout(uuid, bigint, uuid, text) IS
'User p_user asks for p_amount tokens as money, at account p_account. They are held at once, at the rate token_value of this moment; payout_amount is rounded down to whole hundredths of the account''s currency. By the rates payout_review_* it is held for an operator, with the reason; otherwise a scheduler sends it. That it is the user who asks is for the caller to know (password or code). p_key makes it safe to repeat.';
