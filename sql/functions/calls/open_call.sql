-- open_call: a fan calls a creator; it rings.
-- Locks    both people's places in core.call_parties, in id order
-- Decides  after that: what the key did before; that both may, neither is in a call, the creator accepts calls and has not banned
--          the fan, no call between them was declined or missed within the rate call_cooldown, and the fan can pay a block
-- Writes   calls, call_clocks, call_parties, idempotency_keys, outbox 'call.ringing'
-- Errors   TS106 IDEMPOTENCY_KEY_INVALID, TS113 SELF_CALL, TS210 WALLET_NOT_FOUND, TS211 USER_NOT_FOUND, TS212 CREATOR_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS332 CALL_IN_PROGRESS, TS333 CREATOR_BUSY, TS334 CALLS_NOT_ACCEPTED,
--          TS401 INSUFFICIENT_TOKENS, TS502 USER_SUSPENDED, TS507 BANNED, TS605 CALL_COOLDOWN, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.open_call(p_fan uuid, p_creator uuid, p_key text DEFAULT NULL) RETURNS api.call_offer
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_nothing CONSTANT text := 'No call was opened.';
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('call'::text, p_fan, p_creator)));
    v_block_us CONSTANT bigint := floor(core._rate('call_block') * 1000000);
    v_longest_us CONSTANT bigint := floor(core._rate('call_longest') * 1000000);
    v_ringing CONSTANT interval := make_interval(secs => core._rate('call_ringing'));
    v_cooldown CONSTANT interval := make_interval(secs => core._rate('call_cooldown'));
    v_id CONSTANT uuid := core.uuid7();
    v_stored jsonb;
    v_mine uuid[];
    v_settings core.creator_settings;
    v_price bigint;
    v_fan_wallet core.wallets;
    v_creator_wallet uuid;
    v_busy core.call_parties;
    v_until timestamptz;
    v_now timestamptz;
    v_offer api.call_offer;
BEGIN
    IF v_block_us <= 0 OR v_longest_us < v_block_us THEN
        PERFORM core._raise(
            'TS801', 'CONFIGURATION_ERROR', jsonb_build_object('rate', 'call_block'), 'A block is longer than nothing, and no longer than call_longest.'
        );
    ELSIF p_fan = p_creator THEN
        PERFORM core._raise('TS113', 'SELF_CALL', jsonb_build_object('user_id', p_fan), c_nothing);
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_fan) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_fan), c_nothing);
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_creator AND 'creator' = ANY (u.roles)) THEN
        PERFORM core._raise('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_creator), c_nothing);
    END IF;
    -- waits for whoever opens or ends a call of one of them just now
    WITH mine AS (
        INSERT INTO core.call_parties (user_id, call_id)
        SELECT p.id, v_id FROM unnest(ARRAY[p_fan, p_creator]) AS p (id) ORDER BY p.id
        ON CONFLICT ON CONSTRAINT call_parties_pkey DO NOTHING
        RETURNING user_id
    )
    SELECT array_agg(m.user_id) INTO v_mine FROM mine AS m;

    v_stored := core._stored_result(p_fan, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        DELETE FROM core.call_parties AS q WHERE q.user_id = ANY (v_mine) AND q.call_id = v_id;
        RETURN jsonb_populate_record(NULL::api.call_offer, v_stored || '{"replayed": true}');
    END IF;
    PERFORM core._check_actor(p_fan);
    SELECT s.* INTO v_settings
    FROM core.creator_settings AS s
    INNER JOIN core.users AS u ON u.id = s.user_id AND u.status = 'active'
    WHERE s.user_id = p_creator;
    IF EXISTS (SELECT FROM core.bans AS b WHERE b.creator_id = p_creator AND b.user_id = p_fan) THEN
        PERFORM core._raise('TS507', 'BANNED', jsonb_build_object('creator_id', p_creator), c_nothing);
    ELSIF v_settings.accepts_calls IS NOT TRUE THEN
        PERFORM core._raise('TS334', 'CALLS_NOT_ACCEPTED', jsonb_build_object('creator_id', p_creator), c_nothing);
    ELSIF p_fan = ANY (v_mine) IS NOT TRUE THEN
        SELECT q.* INTO v_busy FROM core.call_parties AS q WHERE q.user_id = p_fan;
        PERFORM core._raise('TS332', 'CALL_IN_PROGRESS', jsonb_build_object('call_id', v_busy.call_id), 'End that one first.');
    ELSIF p_creator = ANY (v_mine) IS NOT TRUE THEN
        PERFORM core._raise('TS333', 'CREATOR_BUSY', jsonb_build_object('creator_id', p_creator), 'Try again later.');
    END IF;
    v_now := clock_timestamp();
    v_until := (
        SELECT max(c.ended_at) + v_cooldown
        FROM core.calls AS c
        WHERE
            c.fan_id = p_fan AND c.id >= core._uuid_floor(greatest(v_now - v_cooldown - interval '1 day', 'epoch')) AND c.creator_id = p_creator
            AND c.status IN ('declined', 'missed')
    );
    IF v_until > v_now THEN
        PERFORM core._raise(
            'TS605', 'CALL_COOLDOWN',
            jsonb_build_object('creator_id', p_creator, 'until', v_until, 'retry_after', least(ceil(extract(EPOCH FROM v_until - v_now)), 2147483647)::integer),
            c_nothing
        );
    END IF;
    v_price := ceil(v_settings.rate_per_minute::numeric * v_block_us / 60000000);
    SELECT w.* INTO v_fan_wallet FROM core.wallets AS w WHERE w.owner_id = p_fan AND w.asset = 'TOKEN';
    v_creator_wallet := (SELECT w.id FROM core.wallets AS w WHERE w.owner_id = p_creator AND w.asset = 'TOKEN');
    IF v_fan_wallet.id IS NULL OR v_creator_wallet IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('asset', 'TOKEN'), c_nothing);
    ELSIF v_fan_wallet.balance - v_fan_wallet.held - v_fan_wallet.minimum < v_price THEN
        PERFORM core._raise(
            'TS401', 'INSUFFICIENT_TOKENS',
            jsonb_build_object(
                'required', v_price, 'current', v_fan_wallet.balance - v_fan_wallet.held - v_fan_wallet.minimum,
                'shortfall', v_price - (v_fan_wallet.balance - v_fan_wallet.held - v_fan_wallet.minimum), 'asset', 'TOKEN'
            ),
            'A call needs tokens for one block at least.'
        );
    END IF;

    v_offer := ROW(
        v_id, 'call:' || v_id::text, p_creator, 'ringing', v_settings.rate_per_minute, v_block_us / 1000, v_price,
        v_now, v_now + v_ringing, false
    );
    INSERT INTO core.calls (
        id, fan_id, creator_id, fan_wallet_id, creator_wallet_id, rate_per_minute, block_us, block_price, block_limit, opened_at
    )
    VALUES (
        v_id, p_fan, p_creator, v_fan_wallet.id, v_creator_wallet, v_settings.rate_per_minute, v_block_us, v_price,
        least(v_longest_us / v_block_us, 1000000), v_now
    );
    INSERT INTO core.call_clocks (call_id, due_at, fan_seen_at) VALUES (v_id, v_offer.rings_until, v_now);
    PERFORM core._store_result(p_fan, p_key, v_hash, to_jsonb(v_offer));
    PERFORM core._call_event('call.ringing', ARRAY[v_id]);
    RETURN v_offer;
END;
$$;

COMMENT ON FUNCTION api.open_call(uuid, uuid, text) IS
'User p_fan calls creator p_creator. It rings for the rate call_ringing; nothing is paid before it is accepted. The creator''s price a minute, the length of a block (rate call_block) and the longest duration (rate call_longest) are those of now, whatever becomes of them. The fan needs tokens for one block. Nobody is in two calls. p_key makes it safe to repeat.';
