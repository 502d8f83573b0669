-- relay_events: the next events of the outbox get their numbers in their channels.
-- Locks    core.relay_state, skipped where another relay has it (or a backlog is left to others); rows of channels; after a restore into another cluster the
--          outbox, once
-- Decides  what became visible between two snapshots, base and target; in the order of ids, at most p_limit events a call
-- Writes   channel_events, channels, relay_state, relay_chunks; partitions of days that are missing. NOTIFY tessera_events
-- Errors   TS101 INVALID_REQUEST (a limit of 1 to 100000, an age of 0 or more, at most 1000 channels, in a transaction
--          that is READ COMMITTED)
CREATE OR REPLACE FUNCTION api.relay_events(
    p_limit integer DEFAULT 5000, p_backlog boolean DEFAULT true, p_age interval DEFAULT '0', p_channels text [] DEFAULT '{}'
)
RETURNS TABLE (busy boolean, events bigint, entries bigint, more boolean, epoch uuid, hint text, told api.channel_told [], texts api.event_told [])
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
-- nothing is known of how many events there are, so a loop of loops could be chosen
SET enable_nestloop = off
AS $$
DECLARE
    v_state core.relay_state;
    v_chunk core.relay_chunks;
    v_found boolean;
    v_same boolean;
    v_xips xid8 [];
    v_last boolean;
    v_first timestamptz;
    v_top_id bigint;
    v_oldest timestamptz;
    v_before bigint;
    v_marks text;
    v_cluster CONSTANT text := core._cluster();
    v_history CONSTANT text := core._history();
BEGIN
    IF (p_limit BETWEEN 1 AND 100000 AND p_age >= '0' AND cardinality(p_channels) <= 1000) IS NOT TRUE OR current_setting('transaction_isolation') <> 'read committed' THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST',
            jsonb_build_object('field', CASE
                WHEN (p_limit BETWEEN 1 AND 100000) IS NOT TRUE THEN 'p_limit' WHEN (p_age >= '0') IS NOT TRUE THEN 'p_age'
                WHEN cardinality(p_channels) <= 1000 THEN 'transaction_isolation' ELSE 'p_channels'
            END),
            'A limit of 1 to 100000 events, an age of 0 or more, at most 1000 channels, in a READ COMMITTED transaction.'
        );
    END IF;
    busy := false;
    events := 0;
    entries := 0;
    more := false;
    -- Nothing to do costs no lock and no number of a transaction.
    SELECT r.* INTO v_state FROM core.relay_state AS r;
    v_same := v_state.cluster = v_cluster AND v_state.history = v_history;
    IF v_same AND v_state.phase = 'own' AND v_state.target IS NULL THEN
        v_first := core._first_unrelayed(v_state.base, v_state.floor_id);
        IF v_first IS NULL OR (p_age > '0' AND v_first > clock_timestamp() - p_age) THEN
            epoch := v_state.epoch;
            RETURN NEXT;
            RETURN;
        END IF;
    END IF;
    SELECT r.* INTO v_state FROM core.relay_state AS r FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        busy := true;
        RETURN NEXT;
        RETURN;
    END IF;
    IF NOT p_backlog AND (
        v_state.cluster <> v_cluster OR v_state.history <> v_history OR v_state.phase <> 'own' OR v_state.target IS NOT NULL
    ) THEN
        busy := true;
        more := true;
        epoch := v_state.epoch;
        RETURN NEXT;
        RETURN;
    END IF;
    v_before := v_state.entries;
    -- What readers are told of must be there after a crash.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    -- Another relay may have worked since the first look.
    v_same := v_state.cluster = v_cluster AND v_state.history = v_history;
    IF NOT v_same THEN
        v_state.epoch := gen_random_uuid();
        v_state.history := v_history;
    END IF;
    IF v_state.cluster <> v_cluster THEN
        -- what the other cluster had cut into chunks comes first: those are ranges of ids, which new events are beyond
        v_state.phase := 'foreign';
        v_state.cluster := v_cluster;
    END IF;

    IF v_state.target IS NULL THEN
        IF v_state.phase = 'foreign' THEN
            PERFORM core._hold_outbox();
            v_state.phase := 'restored';
        END IF;
        v_state.target := core._snapshot_of_others();
        IF v_state.phase = 'restored' OR core._is_backlog(v_state, p_limit) THEN
            IF NOT p_backlog THEN
                busy := true;
                more := true;
                epoch := v_state.epoch;
                RETURN NEXT;
                RETURN;
            END IF;
            PERFORM core._cut_chunks(v_state, p_limit);
        END IF;
        IF v_state.phase = 'restored' THEN
            v_state.floor_id := (SELECT coalesce(max(o.id), 0) FROM core.outbox AS o);
        END IF;
    END IF;
    SELECT c.* INTO v_chunk FROM core.relay_chunks AS c ORDER BY c.from_id LIMIT 1;
    v_found := FOUND;
    IF v_found THEN
        -- of a chunk it is known how large it is; of what has just been committed, which is little, planning would take longer than the rest
        PERFORM set_config('plan_cache_mode', 'force_custom_plan', true);
        DELETE FROM core.relay_chunks AS c WHERE c.from_id = v_chunk.from_id;
    ELSE
        v_chunk := (0, 9223372036854775807, pg_snapshot_xmax(v_state.base), pg_snapshot_xmax(v_state.target), 1);
    END IF;
    v_xips := CASE WHEN v_state.phase = 'restored' THEN '{}' ELSE ARRAY(SELECT x.xid FROM pg_snapshot_xip(v_state.base) AS x (xid)) END;
    v_state.relayed_at := greatest(clock_timestamp(), v_state.relayed_at);
    IF NOT EXISTS (SELECT FROM core.channel_days AS d WHERE d.from_at <= v_state.relayed_at AND d.to_at > v_state.relayed_at) THEN
        PERFORM core._make_channel_days(v_state.relayed_at, 1);
    END IF;

    WITH picked AS MATERIALIZED (
        SELECT o.xid, o.id, o.created_at, o.channels, o.type, o.payload
        FROM core.outbox AS o
        WHERE (v_found OR v_state.phase <> 'restored')
            AND o.xid >= v_chunk.from_xid AND o.xid <= v_chunk.to_xid AND o.id >= v_chunk.from_id AND o.id <= v_chunk.to_id
            AND CASE
                WHEN v_state.phase = 'restored' THEN o.id > v_state.last_id OR NOT pg_visible_in_snapshot(o.xid, v_state.base)
                ELSE o.xid >= pg_snapshot_xmax(v_state.base) AND o.id > v_state.floor_id AND pg_visible_in_snapshot(o.xid, v_state.target)
            END
        UNION ALL
        SELECT o.xid, o.id, o.created_at, o.channels, o.type, o.payload
        FROM core.outbox AS o
        WHERE o.xid = ANY (v_xips) AND o.id >= v_chunk.from_id AND o.id <= v_chunk.to_id
            AND o.id > v_state.floor_id AND pg_visible_in_snapshot(o.xid, v_state.target)
    ), numbered AS MATERIALIZED (
        SELECT d.channel, d.xid, d.id, d.created_at, row_number() OVER (PARTITION BY d.channel ORDER BY d.id) AS place
        FROM (
            SELECT DISTINCT c.channel COLLATE "C" AS channel, p.id, p.xid, p.created_at
            FROM picked AS p
            CROSS JOIN LATERAL unnest(p.channels) AS c (channel)
            WHERE c.channel IS NOT NULL
        ) AS d
    ), counted AS (
        INSERT INTO core.channels AS c (channel, seq)
        SELECT n.channel, max(n.place) FROM numbered AS n GROUP BY n.channel
        ON CONFLICT (channel) DO UPDATE SET seq = c.seq + excluded.seq
        RETURNING c.id, c.channel, c.seq
    ), before AS (
        SELECT t.id, t.channel, t.seq - m.places AS seq
        FROM counted AS t
        INNER JOIN (SELECT n.channel, max(n.place) AS places FROM numbered AS n GROUP BY n.channel) AS m ON m.channel = t.channel
    ), written AS (
        INSERT INTO core.channel_events (channel_id, seq, xid, id, created_at, relayed_at)
        SELECT b.id, b.seq + n.place, n.xid, n.id, n.created_at, v_state.relayed_at
        FROM numbered AS n
        INNER JOIN before AS b ON b.channel = n.channel
        RETURNING 1
    ), asked AS (
        SELECT b.channel, b.seq + 1 AS first_seq, n.place, n.id
        FROM (SELECT DISTINCT w.channel COLLATE "C" AS channel FROM unnest(p_channels) AS w (channel)) AS w
        INNER JOIN before AS b ON b.channel = w.channel
        INNER JOIN numbered AS n ON n.channel = b.channel
        WHERE v_state.phase = 'own'
    )
    SELECT
        p.events, (SELECT count(*) FROM written AS w), p.top_id, p.oldest,
        (
            SELECT CASE WHEN count(*) <= 900 THEN string_agg(left(md5(t.channel), 8), '') ELSE '*' END
            FROM counted AS t
        ),
        (
            SELECT array_agg((c.channel, c.first_seq, c.ids)::api.channel_told)
            FROM (SELECT a.channel, a.first_seq, array_agg(a.id ORDER BY a.place) AS ids FROM asked AS a GROUP BY a.channel, a.first_seq) AS c
        ),
        (
            SELECT array_agg((k.id, core._event_text(k.type, k.created_at, k.payload))::api.event_told)
            FROM picked AS k
            WHERE k.id IN (SELECT a.id FROM asked AS a)
        )
    INTO events, entries, v_top_id, v_oldest, v_marks, told, texts
    FROM (SELECT count(*) AS events, max(k.id) AS top_id, min(k.created_at) AS oldest FROM picked AS k) AS p;

    v_last := NOT EXISTS (SELECT FROM core.relay_chunks);
    IF v_last THEN
        v_state.base := v_state.target;
        v_state.target := NULL;
        v_state.last_id := greatest(v_state.last_id, v_top_id, CASE WHEN v_state.phase = 'restored' THEN v_state.floor_id END);
        IF v_state.phase = 'restored' THEN
            v_state.phase := 'own';
        END IF;
    END IF;
    UPDATE core.relay_state AS r
    SET
        epoch = v_state.epoch, cluster = v_state.cluster, history = v_state.history, base = v_state.base, target = v_state.target,
        last_id = v_state.last_id, floor_id = v_state.floor_id, phase = v_state.phase, relayed_at = v_state.relayed_at,
        events = r.events + relay_events.events, entries = r.entries + relay_events.entries;
    UPDATE core.channel_days AS d SET oldest_at = v_oldest
    WHERE d.from_at <= v_state.relayed_at AND d.to_at > v_state.relayed_at AND (d.oldest_at IS NULL OR d.oldest_at > v_oldest);
    IF entries > 0 OR NOT v_same THEN
        -- which channels moved, so that readers need not look at all of theirs; they see by the numbers whether they missed a hint
        hint := v_before || ':' || v_before + relay_events.entries || ':' || coalesce(v_marks, '*');
        PERFORM pg_notify('tessera_events', hint);
    END IF;
    more := NOT v_last OR v_state.phase <> 'own';
    epoch := v_state.epoch;
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION api.relay_events(integer, boolean, interval, text []) IS
'Gives the next events their numbers in their channels and returns how many events there were and how many rows of channels they made, whether more are waiting in chunks, the epoch, and the hint that readers are notified of; busy: another relay is at work. Call it until it finds none; the scheduler does. At most p_limit events a call (1 to 100000), all that became visible between two snapshots in the order of their ids. With p_backlog false a backlog of more than that is left to others, and busy told. With p_age nothing is done as long as the first event is younger than that: whoever committed it may be about to relay it. Of p_channels, at most 1000, it also tells what is new, each event once however many channels it is in, so that who relays need not read it; not of a restore.';
