-- seal_entries: the next block of history is sealed.
-- Locks    one sealing at a time (advisory, until the transaction ends); no row that anybody waits for
-- Decides  up to where nothing can be added any more: no transaction is open that began to write before. From where the last
--          block ended, at most p_limit rows of each kind, within one month
-- Writes   seals (one, or none where there is nothing to seal), seal_marks
-- Errors   TS101 INVALID_REQUEST; 40001 in a transaction that is not READ COMMITTED, when another one sealed meanwhile
CREATE OR REPLACE FUNCTION api.seal_entries(p_limit integer DEFAULT 20000, p_margin interval DEFAULT '10 seconds')
RETURNS SETOF api.seals
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_lock CONSTANT bigint := 139166245879811;
    -- in seconds: a month is no fixed time, and years before 1970 have no ids
    v_margin CONSTANT numeric := extract(EPOCH FROM p_margin);
    v_until timestamptz;
    v_last core.seals;
    v_from uuid;
    v_to uuid;
    v_low uuid;
    v_seal core.seals;
BEGIN
    IF (p_limit BETWEEN 1 AND 1000000) IS NOT TRUE OR (v_margin BETWEEN 0 AND 86400) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST',
            jsonb_build_object('field', CASE WHEN (p_limit BETWEEN 1 AND 1000000) IS NOT TRUE THEN 'p_limit' ELSE 'p_margin' END),
            'A limit of 1 to 1000000 rows, and a margin of 0 to a day.'
        );
    END IF;
    PERFORM pg_advisory_xact_lock(c_lock);
    -- This transaction gets its number after now(), and whatever has a higher number got it later still. (The xmax of a
    -- snapshot would not do: transactions that are open may have higher ones.)
    INSERT INTO core.seal_marks (taken_at, xid) VALUES (now(), pg_current_xact_id()) ON CONFLICT DO NOTHING;
    -- Open transactions have numbers from the snapshot's xmin on, so they began to write after these moments.
    v_until := (SELECT max(m.taken_at) FROM core.seal_marks AS m WHERE m.xid < pg_snapshot_xmin(pg_current_snapshot()));
    DELETE FROM core.seal_marks AS m WHERE m.taken_at < v_until;

    SELECT s.* INTO v_last FROM core.seals AS s ORDER BY s.block DESC LIMIT 1;
    v_from := coalesce(v_last.to_id, '00000000-0000-0000-0000-000000000000');
    v_to := core._uuid_floor(v_until - v_margin * interval '1 second');
    v_low := least(
        (SELECT t.id FROM core.transfers AS t WHERE t.id >= v_from AND t.id < v_to ORDER BY t.id LIMIT 1),
        (SELECT w.id FROM core.wallets AS w WHERE w.id >= v_from AND w.id < v_to ORDER BY w.id LIMIT 1),
        (SELECT l.id FROM core.audit_log AS l WHERE l.id >= v_from AND l.id < v_to ORDER BY l.id LIMIT 1)
    );
    IF v_low IS NULL THEN
        RETURN;
    END IF;
    -- a block does not go beyond a month, so that one which is detached takes whole blocks with it
    v_to := least(v_to, core._uuid_floor(date_trunc('month', core._uuid_time(v_low), 'UTC') + interval '1 month'));
    v_to := least(
        v_to,
        (SELECT t.id FROM core.transfers AS t WHERE t.id >= v_from AND t.id < v_to ORDER BY t.id OFFSET p_limit LIMIT 1),
        (SELECT w.id FROM core.wallets AS w WHERE w.id >= v_from AND w.id < v_to ORDER BY w.id OFFSET p_limit LIMIT 1),
        (SELECT l.id FROM core.audit_log AS l WHERE l.id >= v_from AND l.id < v_to ORDER BY l.id OFFSET p_limit LIMIT 1)
    );

    SELECT
        coalesce(v_last.block, 0) + 1, v_from, v_to, c.transfers, c.wallets, c.acts, c.transfers_digest, c.wallets_digest,
        c.acts_digest, clock_timestamp(), coalesce(v_last.digest, decode(repeat('00', 32), 'hex')), NULL
    INTO v_seal
    FROM core._seal_content(v_from, v_to) AS c;
    v_seal.digest := core._seal_digest(v_seal);
    INSERT INTO core.seals SELECT v_seal.* ON CONFLICT (block) DO NOTHING;
    RETURN QUERY SELECT s.* FROM api.seals AS s WHERE s.block = v_seal.block;
END;
$$;

COMMENT ON FUNCTION api.seal_entries(integer, interval) IS
'Seals the next block of history and returns it; nothing where nothing new is finished. A block holds the transfers (with their entries), the wallets opened and the acts of the audit log whose ids follow the last block''s, up to p_limit of each, up to p_margin ago and not past the oldest open transaction. Call it until it returns nothing; the scheduler does so every 10 seconds. p_margin (up to a day) covers a clock that is set back by as much: what is written later with an id of a sealed block looks like a forgery, and api.verify_seals says so.';
