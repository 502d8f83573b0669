-- _post_transfers: move money. With its short way for one transfer, core._post_one, the only writer of wallets,
-- transfers and entries.
-- Locks    all wallets named in the requests, in id order (core._lock_wallets); callers have locked their domain rows
-- Decides  after the locks: what a key already did; then each request in turn against balances as the ones before it
--          left them. A request that breaks a rule is refused alone, or with the requests it is linked to. p_refusals
--          (same positions, NULL = none) are the caller's own; p_payer_is_actor refuses to pay from another's wallet;
--          p_may_owe lets a payer go below its floor, into debt; refunds then know no velocity limit. Holds that have
--          expired count for nothing
-- Writes   wallets with outbox 'wallet.changed' (one a user's wallet, as the batch leaves it), transfers, entries,
--          idempotency_keys: one statement each; holds that have expired (core._expire_holds),
--          velocity_counters where a limit is in force
-- Errors   TS107 BATCH_TOO_LARGE (raised); per request, returned: TS301 IDEMPOTENCY_KEY_REUSED, the caller's refusals,
--          and those of core._explain_refusal
CREATE OR REPLACE FUNCTION core._post_transfers(
    p_requests core.transfer_request [],
    p_refusals core.refusal [] DEFAULT NULL,
    p_payer_is_actor boolean DEFAULT false,
    p_may_owe boolean DEFAULT false
) RETURNS core.transfer_result []
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    c_batch CONSTANT integer := 5000;
    c_amount CONSTANT bigint := 1000000000000000;
    c_balance CONSTANT bigint := 9000000000000000000;
    v_count CONSTANT integer := coalesce(cardinality(p_requests), 0);
    v_amounts bigint [];
    v_assets text [];
    v_actors uuid [];
    v_links integer [];
    v_ids uuid [];
    v_slots integer [];
    v_wallets core.locked_wallets;
    v_owners uuid [];
    v_wallet_assets text [];
    v_statuses text [];
    v_balances bigint [];
    v_floors bigint [];
    v_earned bigint [];
    v_versions bigint [];
    v_now timestamptz;
    v_db_actor CONSTANT uuid := core._database_actor();
    v_firsts integer [];
    v_twins integer [];
    v_replays uuid [];
    v_refusals core.refusal [] := p_refusals;
    v_transfer_ids uuid [];
    v_from_seqs bigint [];
    v_to_seqs bigint [];
    v_from_balances bigint [];
    v_to_balances bigint [];
    v_from integer;
    v_to integer;
    v_amount bigint;
    v_link integer;
    v_posted boolean := false;
    v_start integer;
    v_rules core.velocity_rules;
    v_rooms bigint [];
    v_limited core.refusal;
    v_results core.transfer_result [];
BEGIN
    IF v_count = 0 THEN
        RETURN '{}';
    ELSIF v_count > c_batch THEN
        PERFORM core._raise('TS107', 'BATCH_TOO_LARGE', jsonb_build_object('size', v_count, 'maximum', c_batch), 'Send less at once.');
    END IF;

    -- Columns of the requests, the wallets they name, and which of these each pays from and to (2i - 1, 2i).
    SELECT array_agg(r.amount), array_agg(r.asset), array_agg(r.actor_id), array_agg(r.link)
    INTO v_amounts, v_assets, v_actors, v_links
    FROM unnest(p_requests) AS r;

    WITH ranked AS MATERIALIZED (
        SELECT s.slot, s.wallet_id, dense_rank() OVER (ORDER BY s.wallet_id) AS place
        FROM (
            SELECT row_number() OVER () * 2 - 1 AS slot, r.from_wallet_id AS wallet_id FROM unnest(p_requests) AS r
            UNION ALL
            SELECT row_number() OVER () * 2, r.to_wallet_id FROM unnest(p_requests) AS r
        ) AS s
    )
    SELECT
        (SELECT array_agg(DISTINCT r.wallet_id) FROM ranked AS r),
        (SELECT array_agg(r.place::integer ORDER BY r.slot) FROM ranked AS r)
    INTO v_ids, v_slots;

    PERFORM core._lock_wallets(v_ids);
    LOOP
        SELECT
            array_agg(w.id), array_agg(w.owner_id), array_agg(w.balance), array_agg(w.minimum + w.held),
            array_agg(w.lifetime_earned), array_agg(w.version), array_agg(w.asset), array_agg(w.status::text),
            max(w.last_entry_at), max(w.held)
        INTO v_wallets
        FROM (
            SELECT
                k.id, k.owner_id, k.balance, k.minimum, k.held, k.lifetime_earned, k.version, k.asset, k.status,
                k.last_entry_at
            FROM core.wallets AS k
            WHERE k.id = ANY (v_ids)
            ORDER BY k.id
        ) AS w;
        EXIT WHEN v_wallets.held > 0 IS NOT TRUE OR core._expire_holds(v_ids) = 0;
    END LOOP;
    -- Not before the locks: they give the transaction its number, and what is sealed (api.seal_entries) is told by ids
    -- that are no older than the number of their transaction.
    v_transfer_ids := ARRAY(SELECT core.uuid7() FROM generate_series(1, v_count) AS g (i));
    IF v_wallets.ids IS NULL OR cardinality(v_wallets.ids) < cardinality(v_ids) THEN
        v_slots := core._place_wallets(p_requests, v_wallets.ids);
    END IF;
    v_owners := v_wallets.owner_ids;
    v_wallet_assets := v_wallets.assets;
    v_statuses := v_wallets.statuses;
    v_balances := v_wallets.balances;
    v_floors := v_wallets.floors;
    v_earned := v_wallets.earned;
    v_versions := v_wallets.versions;
    v_now := greatest(clock_timestamp(), v_wallets.last_entry_at);
    v_transfer_ids := core._in_month(v_transfer_ids, v_now);
    -- filled, so that positions count from 1 whichever is set first
    v_from_seqs := array_fill(NULL::bigint, ARRAY[v_count]);
    v_to_seqs := v_from_seqs;
    v_from_balances := v_from_seqs;
    v_to_balances := v_from_seqs;

    -- What keys have done before these locks were ours, or do twice in this batch.
    SELECT k.replays, k.refusals, k.firsts INTO v_replays, v_refusals, v_firsts
    FROM core._find_twins(p_requests, v_refusals, v_db_actor) AS k;

    -- How much each payer may still pay, where a velocity limit is in force: by now, not when it began to wait for locks.
    v_rules := core._velocity_rules(v_now);
    -- What gives back is not held up by them where it may leave a debt.
    IF v_rules.rules IS NOT NULL AND NOT (p_may_owe AND (p_requests[1]).kind = 'refund') THEN
        v_rooms := core._velocity_rooms(v_wallets.ids, v_owners, v_rules, v_now);
    END IF;

    FOR v_i IN 1..v_count LOOP
        v_from := v_slots[2 * v_i - 1];
        v_to := v_slots[2 * v_i];
        v_amount := v_amounts[v_i];
        IF v_links[v_i] = v_link THEN
            -- a further leg of the group that began at v_start: it shares what became of the first
            IF v_replays[v_start] IS NOT NULL THEN
                v_replays[v_i] := v_replays[v_start];
                CONTINUE;
            ELSIF (v_refusals[v_start]).error_code IS NOT NULL THEN
                v_refusals[v_i] := v_refusals[v_start];
                CONTINUE;
            END IF;
        ELSE
            v_link := v_links[v_i];
            v_start := v_i;
        END IF;
        -- v_twins: of requests with the same key, by the position of their first, the one that took effect
        IF v_firsts[v_i] IS NOT NULL AND v_from_seqs[v_twins[v_firsts[v_i]]] IS NOT NULL THEN
            IF (p_requests[v_i]).request_hash = (p_requests[v_twins[v_firsts[v_i]]]).request_hash THEN
                v_replays[v_i] := v_transfer_ids[v_twins[v_firsts[v_i]]];
            ELSE
                v_refusals := coalesce(v_refusals, array_fill(NULL::core.refusal, ARRAY[v_count]));
                v_refusals[v_i] := core._key_reused((p_requests[v_i]).idempotency_key);
            END IF;
        END IF;
        CONTINUE WHEN v_replays[v_i] IS NOT NULL;

        IF v_amount > 0 AND v_amount <= c_amount AND v_from > 0 AND v_to > 0 AND v_from <> v_to
            AND v_assets[v_i] = v_wallet_assets[v_from] AND v_assets[v_i] = v_wallet_assets[v_to]
            AND v_statuses[v_from] = 'active' AND v_statuses[v_to] IN ('active', 'debits_frozen')
            AND (NOT p_payer_is_actor OR v_actors[v_i] IS NULL OR v_actors[v_i] = v_owners[v_from])
            AND (p_may_owe OR v_balances[v_from] - v_amount >= v_floors[v_from])
            AND v_earned[v_to] <= c_balance - v_amount
            AND v_balances[v_from] - v_amount >= v_earned[v_from] - c_balance
            AND (v_refusals IS NULL OR (v_refusals[v_i]).error_code IS NULL)
            AND (v_rooms IS NULL OR core._take_room(v_rooms, v_rules, v_from, p_requests[v_i], 1) IS NOT NULL)
        THEN
            v_balances[v_from] := v_balances[v_from] - v_amount;
            v_balances[v_to] := v_balances[v_to] + v_amount;
            v_earned[v_to] := v_earned[v_to] + v_amount;
            v_versions[v_from] := v_versions[v_from] + 1;
            v_versions[v_to] := v_versions[v_to] + 1;
            v_posted := true;
            v_from_balances[v_i] := v_balances[v_from];
            v_to_balances[v_i] := v_balances[v_to];
            v_from_seqs[v_i] := v_versions[v_from];
            v_to_seqs[v_i] := v_versions[v_to];
            IF v_rooms IS NOT NULL THEN
                v_rooms := core._take_room(v_rooms, v_rules, v_from, p_requests[v_i], 1);
            END IF;
            IF v_firsts IS NOT NULL THEN
                v_twins[coalesce(v_firsts[v_i], v_i)] := v_i;
            END IF;
        ELSE
            IF v_rooms IS NOT NULL THEN
                v_limited := core._velocity_refusal(v_rooms, v_rules, v_from, p_requests[v_i], v_now);
            END IF;
            -- take back the legs of this group that had passed
            FOR v_j IN REVERSE v_i - 1..v_start LOOP
                v_from := v_slots[2 * v_j - 1];
                v_to := v_slots[2 * v_j];
                v_balances[v_from] := v_balances[v_from] + v_amounts[v_j];
                v_balances[v_to] := v_balances[v_to] - v_amounts[v_j];
                v_earned[v_to] := v_earned[v_to] - v_amounts[v_j];
                v_versions[v_from] := v_versions[v_from] - 1;
                v_versions[v_to] := v_versions[v_to] - 1;
                v_from_seqs[v_j] := NULL;
                v_from_balances[v_j] := NULL;
                v_to_balances[v_j] := NULL;
                IF v_rooms IS NOT NULL THEN
                    v_rooms := core._take_room(v_rooms, v_rules, v_from, p_requests[v_j], -1);
                END IF;
            END LOOP;
            v_refusals := coalesce(v_refusals, array_fill(NULL::core.refusal, ARRAY[v_count]));
            IF (v_refusals[v_i]).error_code IS NULL THEN
                v_refusals[v_i] := core._explain_refusal(
                    p_requests, v_i, v_start, v_wallets, v_slots, v_balances, p_payer_is_actor
                );
                IF (v_refusals[v_i]).error = 'BALANCE_LIMIT' AND v_limited.error_code IS NOT NULL THEN
                    v_refusals[v_i] := v_limited;
                END IF;
            END IF;
            FOR v_j IN v_start..v_i - 1 LOOP
                v_refusals[v_j] := v_refusals[v_i];
            END LOOP;
        END IF;
    END LOOP;

    IF v_posted THEN
        WITH changed AS (
            UPDATE core.wallets AS w
            SET
                balance = n.balance, version = n.version, lifetime_earned = n.earned, lifetime_spent = n.earned - n.balance,
                last_entry_at = v_now,
                debt = CASE WHEN p_may_owe OR w.debt > 0 THEN greatest(0, w.minimum + w.held - n.balance) ELSE 0 END
            FROM unnest(v_wallets.ids, v_balances, v_versions, v_earned, v_wallets.balances)
                AS n (id, balance, version, earned, balance_before)
            WHERE w.id = n.id AND w.version < n.version
            RETURNING w.id, w.owner_id, w.asset, w.balance, w.held, w.minimum, w.version, w.balance - n.balance_before AS change
        )
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'wallet.changed', ARRAY['user:' || c.owner_id::text],
            core._wallet_payload(c.id, c.asset, c.balance, c.held, c.minimum, c.version, c.change)
        FROM changed AS c
        WHERE c.owner_id IS NOT NULL;

        INSERT INTO core.transfers (
            id, from_wallet_id, to_wallet_id, amount, from_seq, to_seq, created_at, actor_id, asset, kind, db_user,
            reference, metadata, event_at
        )
        SELECT
            r.id, r.from_wallet_id, r.to_wallet_id, r.amount, r.from_seq, r.to_seq, v_now, r.actor_id, r.asset, r.kind,
            CASE WHEN r.actor_id IS NULL THEN session_user END, r.reference, r.metadata, r.event_at
        FROM ROWS FROM (
            unnest(p_requests), unnest(v_transfer_ids), unnest(v_from_seqs), unnest(v_to_seqs)
        ) AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
            metadata, event_at, id, from_seq, to_seq
        )
        WHERE r.from_seq IS NOT NULL;

        INSERT INTO core.entries (wallet_id, seq, transfer_id, amount, balance, created_at)
        SELECT v_wallets.ids[e.place], e.seq, e.transfer_id, e.amount, e.balance, v_now
        FROM (
            SELECT v_slots[2 * d.ord - 1], d.seq, d.transfer_id, - d.amount, d.balance
            FROM unnest(v_from_seqs, v_transfer_ids, v_amounts, v_from_balances) WITH ORDINALITY
                AS d (seq, transfer_id, amount, balance, ord)
            WHERE d.seq IS NOT NULL
            UNION ALL
            SELECT v_slots[2 * c.ord], c.to_seq, c.transfer_id, c.amount, c.balance
            FROM unnest(v_from_seqs, v_to_seqs, v_transfer_ids, v_amounts, v_to_balances) WITH ORDINALITY
                AS c (seq, to_seq, transfer_id, amount, balance, ord)
            WHERE c.seq IS NOT NULL
        ) AS e (place, seq, transfer_id, amount, balance);

        INSERT INTO core.idempotency_keys (actor_id, key, transfer_id, created_at, request_hash)
        SELECT coalesce(r.actor_id, v_db_actor), r.idempotency_key, r.id, v_now, r.request_hash
        FROM ROWS FROM (unnest(p_requests), unnest(v_transfer_ids), unnest(v_from_seqs)) AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
            metadata, event_at, id, from_seq
        )
        WHERE r.from_seq IS NOT NULL AND r.idempotency_key IS NOT NULL;

        IF v_rooms IS NOT NULL THEN
            PERFORM core._count_velocity(v_wallets.ids, v_owners, v_rules, v_rooms, v_now);
        END IF;
    END IF;

    SELECT array_agg(ROW(
        CASE WHEN a.from_seq IS NOT NULL THEN a.transfer_id END, a.from_balance, a.to_balance,
        v_owners[v_slots[2 * a.ord - 1]], v_owners[v_slots[2 * a.ord]],
        CASE WHEN a.from_seq IS NOT NULL THEN v_now END, false, a.error_code, a.error, a.detail
    )::core.transfer_result)
    INTO v_results
    FROM ROWS FROM (
        unnest(v_transfer_ids), unnest(v_from_seqs), unnest(v_from_balances), unnest(v_to_balances), unnest(v_refusals)
    ) WITH ORDINALITY AS a (transfer_id, from_seq, from_balance, to_balance, error_code, error, detail, ord)
    WHERE a.ord <= v_count;
    IF v_replays IS NOT NULL THEN
        v_results := core._fill_replays(v_results, v_replays);
    END IF;
    RETURN v_results;
END;
$$;

COMMENT ON FUNCTION core._post_transfers(core.transfer_request [], core.refusal [], boolean, boolean) IS
'Moves money: locks the wallets, applies the requests one after another, writes all that passed in one go; one result a request, in order. With its short way core._post_one the only writer of wallets, transfers and entries.';
