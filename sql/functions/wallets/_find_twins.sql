-- _find_twins: which requests of a batch repeat one that took effect, or one before them in the same batch.
-- Locks    nothing; called when the wallets are locked, so that a twin has committed or rolled back by now
-- Decides  same key and same request: a replay; same key, other request: a refusal
-- Writes   nothing
-- Errors   TS301 IDEMPOTENCY_KEY_REUSED (returned, not raised)
CREATE OR REPLACE FUNCTION core._find_twins(
    p_requests core.transfer_request [],
    p_refusals core.refusal [],
    p_db_actor uuid,
    OUT replays uuid [],
    OUT refusals core.refusal [],
    OUT firsts integer []
)
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_positions integer[];
    v_transfer_ids uuid[];
    v_same boolean[];
BEGIN
    refusals := p_refusals;
    SELECT array_agg(r.ord), array_agg(k.transfer_id), array_agg(k.request_hash = r.request_hash)
    INTO v_positions, v_transfer_ids, v_same
    FROM unnest(p_requests) WITH ORDINALITY AS r (
        from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash, link,
        metadata, event_at, ord
    )
    -- LIMIT: a plain join, planned while the table is small, may begin with all of it; and a session keeps its plans
    CROSS JOIN LATERAL (
        SELECT i.transfer_id, i.request_hash
        FROM core.idempotency_keys AS i
        WHERE i.actor_id = coalesce(r.actor_id, p_db_actor) AND i.key = r.idempotency_key
        LIMIT 1
    ) AS k;

    SELECT array_agg(nullif(f.first, f.ord)::integer ORDER BY f.ord)
    INTO firsts
    FROM (
        SELECT
            r.ord,
            CASE
                WHEN r.idempotency_key IS NULL THEN r.ord
                ELSE min(r.ord) OVER (PARTITION BY r.actor_id, r.idempotency_key)
            END AS first
        FROM unnest(p_requests) WITH ORDINALITY AS r (
            from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
            link, metadata, event_at, ord
        )
    ) AS f
    HAVING bool_or(f.first <> f.ord);

    FOR v_i IN 1..coalesce(cardinality(v_positions), 0) LOOP
        IF v_same[v_i] AND v_transfer_ids[v_i] IS NOT NULL THEN
            replays[v_positions[v_i]] := v_transfer_ids[v_i];
        ELSE
            refusals := coalesce(refusals, array_fill(NULL::core.refusal, ARRAY[cardinality(p_requests)]));
            refusals[v_positions[v_i]] := core._key_reused((p_requests[v_positions[v_i]]).idempotency_key);
        END IF;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION core._find_twins(core.transfer_request [], core.refusal [], uuid) IS
'For each request by position: the transfer that its key already led to (replays), TS301 if the key stands for another request (refusals), and the position of an earlier request of the batch with the same key (firsts).';
