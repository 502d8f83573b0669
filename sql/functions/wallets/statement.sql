-- statement: the entries of a wallet, newest first.
-- Locks    nothing
-- Decides  goes through the partitions from the newest month that counts to the oldest, until it has enough: first one month,
--          then two, four… In a wallet months follow each other as entries do, and one month of entries and of transfers is
--          one partition of each. A step names its bounds, so PostgreSQL opens no other partitions
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.statement(
    p_wallet uuid,
    p_from timestamptz DEFAULT NULL,
    p_to timestamptz DEFAULT NULL,
    p_before_seq bigint DEFAULT NULL,
    p_limit integer DEFAULT 100,
    p_kind text DEFAULT NULL
)
RETURNS TABLE (
    seq bigint, created_at timestamptz, amount bigint, balance bigint, transfer_id uuid, kind text,
    counterparty_wallet_id uuid, counterparty_user_id uuid, reference text, metadata jsonb
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET timezone = 'UTC'
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
SET enable_material = off
SET enable_bitmapscan = off
SET enable_sort = off
AS $$
DECLARE
    v_left integer := least(greatest(coalesce(p_limit, 100), 1), 1000);
    v_first timestamptz;
    v_month timestamptz;
    v_oldest timestamptz;
    v_version bigint;
    v_months integer := 1;
    v_low uuid;
    v_high uuid;
    v_rows bigint;
BEGIN
    -- v_first: the month up to which, with all before it, there is one partition
    SELECT p.since - interval '1 month', date_trunc('month', greatest(least(w.last_entry_at, p_to), p.since - interval '1 month')), w.version
    INTO v_first, v_month, v_version
    FROM core.wallets AS w
    INNER JOIN core.partitioned AS p ON p.name = 'entries'
    WHERE w.id = p_wallet;
    IF p_before_seq <= v_version AND v_month > v_first THEN
        -- where it is, a look into each index tells; there is no need to pass through what is newer
        SELECT least(v_month, date_trunc('month', e.created_at)) INTO v_month
        FROM core.entries AS e
        WHERE e.wallet_id = p_wallet AND e.seq = p_before_seq;
    END IF;
    v_month := CASE WHEN v_version IS NOT NULL THEN greatest(v_month, v_first) END;
    v_oldest := date_trunc('month', greatest(p_from, v_first));
    v_high := core._uuid_floor(v_month + interval '1 month');

    WHILE v_left > 0 AND v_month >= v_oldest LOOP
        v_month := greatest(v_month - (v_months - 1) * interval '1 month', v_oldest);
        v_low := CASE WHEN v_month > v_first THEN core._uuid_floor(v_month) ELSE '00000000-0000-0000-0000-000000000000' END;
        RETURN QUERY
        SELECT
            e.seq::bigint, e.created_at, e.amount::bigint, e.balance, e.transfer_id, t.kind, c.id, c.owner_id, t.reference,
            t.metadata
        FROM core.entries AS e
        -- LIMIT: a plain join, planned while the tables are small, may begin with the transfers; and a session keeps its plans
        CROSS JOIN LATERAL (
            SELECT x.kind, x.reference, x.metadata, x.from_wallet_id, x.to_wallet_id
            FROM core.transfers AS x
            WHERE x.id = e.transfer_id AND x.id >= v_low AND x.id < v_high
            LIMIT 1
        ) AS t
        CROSS JOIN LATERAL (
            SELECT w.id, w.owner_id FROM core.wallets AS w
            WHERE w.id = CASE WHEN e.amount < 0 THEN t.to_wallet_id ELSE t.from_wallet_id END
            LIMIT 1
        ) AS c
        WHERE
            e.wallet_id = p_wallet
            AND e.transfer_id >= v_low AND e.transfer_id < v_high
            AND e.seq < coalesce(p_before_seq, 9223372036854775807)
            AND (p_from IS NULL OR e.created_at >= p_from)
            AND (p_to IS NULL OR e.created_at < p_to)
            AND (p_kind IS NULL OR t.kind = p_kind)
        ORDER BY e.seq DESC
        LIMIT v_left;
        GET DIAGNOSTICS v_rows = ROW_COUNT;
        v_left := v_left - v_rows;
        v_high := v_low;
        v_month := v_month - interval '1 month';
        v_months := 2 * v_months;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION api.statement(uuid, timestamptz, timestamptz, bigint, integer, text) IS
'Entries of a wallet from p_from (inclusive) to p_to (exclusive), newest first, at most p_limit (1 to 1000, 100 if NULL); go on with p_before_seq = the last seq seen. amount is signed, balance is after the entry, both in minor units. Months that are detached (docs/growth.md) are not there.';
