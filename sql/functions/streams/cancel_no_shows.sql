-- cancel_no_shows: scheduled streams that never went live are cancelled. The scheduler's part.
-- Locks    up to p_limit such streams (those that somebody else has locked are passed over); then the wallets of all their
--          viewers and creators and the revenue shards, in id order
-- Decides  which have a starts_at longer ago than the rate stream_no_show; then as core._cancel_stream, each stream alone
-- Writes   as core._cancel_stream, without an actor; streams (cancel_refused_at) where giving back was refused
-- Errors   TS101 INVALID_REQUEST, TS801 CONFIGURATION_ERROR (raised); per stream, in its row: TS240 HISTORY_DETACHED,
--          TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT
CREATE OR REPLACE FUNCTION api.cancel_no_shows(p_limit integer DEFAULT 1) RETURNS SETOF api.no_show
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_reason CONSTANT text := 'no show';
    -- one that was refused makes room for the others before its next turn
    c_again CONSTANT interval := '10 minutes';
    c_maximum CONSTANT integer := 100;
    v_starts timestamptz;
    v_refused timestamptz := clock_timestamp() - c_again;
    v_streams uuid[];
    v_row api.no_show;
    v_detail text;
BEGIN
    IF (p_limit BETWEEN 1 AND c_maximum) IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_limit', 'minimum', 1, 'maximum', c_maximum),
            'A limit of 1 to 100 streams.'
        );
    END IF;
    v_starts := clock_timestamp() - least(core._rate('stream_no_show'), 3153600000) * interval '1 second';
    v_streams := ARRAY(
        SELECT s.id
        FROM core.streams AS s
        WHERE
            s.status = 'scheduled' AND s.starts_at IS NOT NULL
            AND coalesce(s.cancel_refused_at, s.starts_at) <= greatest(v_starts, v_refused)
            AND s.starts_at <= v_starts AND (s.cancel_refused_at IS NULL OR s.cancel_refused_at <= v_refused)
        ORDER BY coalesce(s.cancel_refused_at, s.starts_at), s.id
        LIMIT p_limit
        FOR NO KEY UPDATE SKIP LOCKED
    );
    PERFORM core._lock_ticket_wallets(v_streams);
    FOR v_row IN
        SELECT s.id, s.creator_id, 0::bigint, NULL::text, NULL::text, NULL::jsonb
        FROM core.streams AS s
        WHERE s.id = ANY (v_streams)
        ORDER BY s.starts_at, s.id
    LOOP
        BEGIN
            PERFORM core._cancel_stream(v_row.stream_id, c_reason, NULL);
            v_row.tickets := (SELECT count(*) FROM core.tickets AS t WHERE t.stream_id = v_row.stream_id);
        EXCEPTION WHEN OTHERS THEN
            IF SQLSTATE NOT LIKE 'TS%' THEN
                RAISE;
            END IF;
            GET STACKED DIAGNOSTICS v_row.error_code = RETURNED_SQLSTATE, v_row.error = MESSAGE_TEXT, v_detail = PG_EXCEPTION_DETAIL;
            v_row.detail := nullif(v_detail, '')::jsonb;
            UPDATE core.streams AS s SET cancel_refused_at = clock_timestamp() WHERE s.id = v_row.stream_id;
        END;
        RETURN NEXT v_row;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION api.cancel_no_shows(integer) IS
'Cancels scheduled streams whose starts_at passed longer ago than the rate stream_no_show (seconds) and that never went live, and gives their tickets back, up to p_limit streams (100) in this transaction; a row for each. One whose tickets cannot be given back is left as it is, says why, and has its next turn ten minutes later. Streams without starts_at stay. Call it until it returns nothing; the scheduler does so every minute.';
