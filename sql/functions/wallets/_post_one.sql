-- _post_one: one transfer, the short way. A function of few expressions, because PL/pgSQL prepares each anew in each
-- transaction, and for a single transfer that cost three times the transfer itself (docs/performance.md).
-- Locks    both wallets, in id order (core._lock_wallets)
-- Decides  after the locks: nothing but that everything is in order, the key new and no velocity limit in force; whatever else
--          there is to decide (a replay, a refusal, a hold that has expired, a debt,
--          a month that ends just now) core._post_transfers decides
-- Writes   wallets, transfers, entries, idempotency_keys, outbox 'wallet.changed' and 'transfer.posted', in one statement
-- Errors   those of core._post_transfers, raised
CREATE OR REPLACE FUNCTION core._post_one(
    p_request core.transfer_request,
    p_refusal core.refusal,
    p_payer_is_actor boolean
) RETURNS core.transfer_result
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_key_actor_id CONSTANT uuid := coalesce(p_request.actor_id, core._database_actor());
    v_result core.transfer_result;
BEGIN
    PERFORM core._lock_wallets(ARRAY[p_request.from_wallet_id, p_request.to_wallet_id]);

    WITH ok AS MATERIALIZED (
        SELECT
            s.id, s.now,
            f.balance - p_request.amount AS from_balance, t.balance + p_request.amount AS to_balance,
            f.version + 1 AS from_seq, t.version + 1 AS to_seq,
            f.owner_id AS from_owner_id, t.owner_id AS to_owner_id, f.held AS from_held, t.held AS to_held,
            f.minimum AS from_minimum, t.minimum AS to_minimum
        FROM core.wallets AS f
        INNER JOIN core.wallets AS t ON t.id = p_request.to_wallet_id
        CROSS JOIN LATERAL (
            SELECT core.uuid7() AS id, greatest(clock_timestamp(), f.last_entry_at, t.last_entry_at) AS now
        ) AS s
        WHERE
            f.id = p_request.from_wallet_id AND f.id <> t.id
            AND p_refusal.error_code IS NULL
            AND p_request.amount BETWEEN 1 AND 1000000000000000
            AND f.asset = p_request.asset AND t.asset = p_request.asset
            AND f.status = 'active' AND t.status IN ('active', 'debits_frozen') AND t.debt = 0
            AND (NOT p_payer_is_actor OR p_request.actor_id IS NULL OR f.owner_id = p_request.actor_id)
            AND f.balance - p_request.amount >= f.minimum + f.held
            AND t.lifetime_earned <= 9000000000000000000 - p_request.amount
            AND f.balance - p_request.amount >= f.lifetime_earned - 9000000000000000000
            AND date_trunc('month', core._uuid_time(s.id), 'UTC') = date_trunc('month', s.now, 'UTC')
            AND NOT EXISTS (
                SELECT FROM core.idempotency_keys AS k
                WHERE k.actor_id = v_key_actor_id AND k.key = p_request.idempotency_key
            )
            AND NOT EXISTS (
                SELECT FROM core.rates AS r
                WHERE r.name IN (
                    'velocity_amount_minute', 'velocity_amount_hour', 'velocity_amount_day',
                    'velocity_count_minute', 'velocity_count_hour', 'velocity_count_day'
                ) AND r.valid_from <= s.now AND (r.valid_to IS NULL OR r.valid_to > s.now)
            )
    ), wallet AS (
        UPDATE core.wallets AS w
        SET
            balance = CASE WHEN w.id = p_request.from_wallet_id THEN o.from_balance ELSE o.to_balance END,
            version = w.version + 1,
            lifetime_spent = w.lifetime_spent + CASE WHEN w.id = p_request.from_wallet_id THEN p_request.amount ELSE 0 END,
            lifetime_earned = w.lifetime_earned + CASE WHEN w.id = p_request.from_wallet_id THEN 0 ELSE p_request.amount END,
            last_entry_at = o.now
        FROM ok AS o
        WHERE w.id IN (p_request.from_wallet_id, p_request.to_wallet_id)
    ), transfer AS (
        INSERT INTO core.transfers (
            id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, actor_id, asset, kind, db_user,
            reference, metadata, event_at
        )
        SELECT
            o.id, p_request.from_wallet_id, p_request.to_wallet_id, p_request.amount, o.from_seq, o.to_seq, o.now,
            p_request.actor_id, p_request.asset, p_request.kind,
            CASE WHEN p_request.actor_id IS NULL THEN session_user END, p_request.reference, p_request.metadata,
            p_request.event_at
        FROM ok AS o
    ), entry AS (
        INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
        SELECT e.wallet_id, e.seq, o.id, e.amount, e.balance, o.now
        FROM ok AS o
        CROSS JOIN LATERAL (
            VALUES
            (p_request.from_wallet_id, o.from_seq, - p_request.amount, o.from_balance),
            (p_request.to_wallet_id, o.to_seq, p_request.amount, o.to_balance)
        ) AS e (wallet_id, seq, amount, balance)
    ), key AS (
        INSERT INTO core.idempotency_keys (actor_id, key, transfer_id, created_at, request_hash)
        SELECT v_key_actor_id, p_request.idempotency_key, o.id, o.now, p_request.request_hash
        FROM ok AS o
        WHERE p_request.idempotency_key IS NOT NULL
    ), event AS (
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'wallet.changed', ARRAY['user:' || e.owner_id::text],
            core._wallet_payload(e.wallet_id, p_request.asset, e.balance, e.held, e.minimum, e.seq, e.change)
        FROM ok AS o
        CROSS JOIN LATERAL (
            VALUES
            (p_request.from_wallet_id, o.from_owner_id, o.from_balance, o.from_held, o.from_minimum, o.from_seq, - p_request.amount),
            (p_request.to_wallet_id, o.to_owner_id, o.to_balance, o.to_held, o.to_minimum, o.to_seq, p_request.amount)
        ) AS e (wallet_id, owner_id, balance, held, minimum, seq, change)
        WHERE e.owner_id IS NOT NULL
        UNION ALL
        SELECT
            'transfer.posted', core._user_channels(o.from_owner_id, o.to_owner_id),
            core._transfer_payload(
                o.id, p_request.from_wallet_id, p_request.to_wallet_id, p_request.amount, p_request.asset, p_request.kind,
                p_request.reference, o.now
            )
        FROM ok AS o
    )
    SELECT o.id, o.from_balance, o.to_balance, o.from_owner_id, o.to_owner_id, o.now, false, NULL, NULL, NULL
    INTO v_result
    FROM ok AS o;

    IF v_result.transfer_id IS NULL THEN
        v_result := (core._post_transfers(ARRAY[p_request], ARRAY[p_refusal], p_payer_is_actor))[1];
        IF v_result.error_code IS NOT NULL THEN
            PERFORM core._raise(v_result.error_code, v_result.error, v_result.detail, 'Nothing was moved.');
        ELSIF NOT v_result.replayed THEN
            INSERT INTO core.outbox (type, channels, payload)
            VALUES (
                'transfer.posted', core._user_channels(v_result.from_owner_id, v_result.to_owner_id),
                core._transfer_payload(
                    v_result.transfer_id, p_request.from_wallet_id, p_request.to_wallet_id, p_request.amount,
                    p_request.asset, p_request.kind, p_request.reference, v_result.created_at
                )
            );
        END IF;
    END IF;
    RETURN v_result;
END;
$$;

COMMENT ON FUNCTION core._post_one(core.transfer_request, core.refusal, boolean) IS
'One transfer: as core._post_transfers with a batch of one, and by it whenever there is something to decide; several times cheaper when there is not.';
