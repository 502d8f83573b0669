-- _entry_at: the last entry of a wallet at a moment: its seq, and the balance after it; 0 and 0 before the first.
-- Locks    nothing
-- Decides  in the month of p_at by binary search over seq (time never runs backwards in a wallet), so that no index on time
--          is needed; where there is none at or before p_at, by the last entry of the months before: one, two, four… One
--          month of entries is one partition, and a step names its bounds, so PostgreSQL opens no other
-- Writes   nothing
-- Errors   TS210 WALLET_NOT_FOUND, TS240 HISTORY_DETACHED
CREATE OR REPLACE FUNCTION core._entry_at(p_wallet uuid, p_at timestamptz, OUT seq bigint, OUT balance bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    v_wallet core.wallets;
    v_first timestamptz;
    v_month timestamptz;
    v_months integer := 1;
    v_detached timestamptz;
    v_low uuid;
    v_high uuid;
    v_from bigint;
    v_to bigint;
    v_middle bigint;
    v_at timestamptz;
    v_balance bigint;
BEGIN
    SELECT w.* INTO v_wallet FROM core.wallets AS w WHERE w.id = p_wallet;
    IF v_wallet.id IS NULL THEN
        PERFORM core._raise('TS210', 'WALLET_NOT_FOUND', jsonb_build_object('wallet_id', p_wallet), 'Look it up in api.wallets.');
    ELSIF p_at >= v_wallet.last_entry_at THEN
        seq := v_wallet.version;
        balance := v_wallet.balance;
        RETURN;
    END IF;
    SELECT p.since - interval '1 month', p.attached_from INTO v_first, v_detached FROM core.partitioned AS p WHERE p.name = 'entries';

    v_month := date_trunc('month', greatest(p_at, v_first));
    WHILE v_month >= v_first AND v_month >= v_detached LOOP
        v_high := core._uuid_floor(v_month + interval '1 month');
        v_month := greatest(v_month - (v_months - 1) * interval '1 month', v_first, v_detached);
        v_low := CASE WHEN v_month > v_first THEN core._uuid_floor(v_month) ELSE '00000000-0000-0000-0000-000000000000' END;
        SELECT e.seq, e.created_at, e.balance INTO seq, v_at, balance
        FROM core.entries AS e
        WHERE e.wallet_id = p_wallet AND e.transfer_id >= v_low AND e.transfer_id < v_high
        ORDER BY e.seq DESC
        LIMIT 1;
        IF v_at <= p_at THEN
            RETURN;
        ELSIF v_at IS NOT NULL THEN
            SELECT e.seq - 1 INTO v_from
            FROM core.entries AS e
            WHERE e.wallet_id = p_wallet AND e.transfer_id >= v_low AND e.transfer_id < v_high
            ORDER BY e.seq
            LIMIT 1;
            v_to := seq - 1;
            seq := NULL;
            -- the last entry of this month at or before p_at is in (v_from, v_to], or there is none; 63 steps at most
            WHILE v_from < v_to LOOP
                v_middle := v_from + (v_to - v_from + 1) / 2;
                SELECT e.created_at, e.balance INTO v_at, v_balance
                FROM core.entries AS e
                WHERE e.wallet_id = p_wallet AND e.seq = v_middle AND e.transfer_id >= v_low AND e.transfer_id < v_high;
                IF v_at <= p_at THEN
                    v_from := v_middle;
                    seq := v_middle;
                    balance := v_balance;
                ELSE
                    v_to := v_middle - 1;
                END IF;
            END LOOP;
            IF seq IS NOT NULL THEN
                RETURN;
            END IF;
        END IF;
        v_month := v_month - interval '1 month';
        v_months := 2 * v_months;
    END LOOP;
    SELECT b.seq, b.balance, b.last_entry_at INTO seq, balance, v_at
    FROM core.brought_forward AS b
    WHERE b.wallet_id = p_wallet
    ORDER BY b.detached_to DESC
    LIMIT 1;
    IF p_at < v_at THEN
        PERFORM core._raise(
            'TS240', 'HISTORY_DETACHED', jsonb_build_object('wallet_id', p_wallet, 'attached_from', v_detached),
            'Ask an operator to attach the months that are asked for.'
        );
    END IF;
    seq := coalesce(seq, 0);
    balance := coalesce(balance, 0);
END;
$$;

COMMENT ON FUNCTION core._entry_at(uuid, timestamptz) IS
'seq of the last entry of a wallet with created_at <= p_at, and the balance after it; 0 before its first. TS210 for an unknown wallet, TS240 for a moment in months that are detached.';
