-- _cancel_stream: a stream will not be, or breaks off; every ticket is given back.
-- Locks    the wallets of its viewers, the creator and the revenue shards, in id order; called when the stream is locked
-- Decides  as core._post_transfers, where a creator who has spent it will owe it
-- Writes   streams, wallets, transfers (refund), entries, refunds, tickets (refunded_at), outbox 'transfer.posted' for each
--          and 'stream.cancelled', audit_log 'stream.cancelled'
-- Errors   TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT
CREATE OR REPLACE FUNCTION core._cancel_stream(p_stream uuid, p_reason text, p_actor uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    c_batch CONSTANT integer := 2000;
    v_ids uuid[];
    v_originals uuid[];
    v_requests core.transfer_request[];
    v_results core.transfer_result[];
    v_refused core.transfer_result;
BEGIN
    UPDATE core.streams AS s
    SET status = 'ended', ended_at = clock_timestamp(), cancelled_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE s.id = p_stream;
    PERFORM core._lock_ticket_wallets(ARRAY[p_stream]);
    LOOP
        v_ids := ARRAY(
            SELECT t.id FROM core.tickets AS t
            WHERE t.stream_id = p_stream AND t.refunded_at IS NULL
            ORDER BY t.id
            LIMIT c_batch
        );
        EXIT WHEN cardinality(v_ids) = 0;
        -- the payment, and the fee beside it: its next entry in the viewer's wallet
        SELECT
            array_agg(m.id ORDER BY m.id),
            array_agg(ROW(
                m.to_wallet_id, m.from_wallet_id, b.rest, m.asset, 'refund', p_reason, p_actor, NULL, NULL, NULL,
                jsonb_build_object('refund_of', m.id), NULL
            )::core.transfer_request ORDER BY m.id)
        INTO v_originals, v_requests
        FROM core.tickets AS t
        INNER JOIN core.transfers AS p ON p.id = t.transfer_id
        CROSS JOIN LATERAL (
            SELECT p.id
            UNION ALL
            SELECT e.transfer_id FROM core.entries AS e
            WHERE e.wallet_id = p.from_wallet_id AND e.seq = p.from_seq + 1 AND t.platform_fee > 0 AND t.platform_fee < t.price
        ) AS x
        INNER JOIN core.transfers AS m ON m.id = x.id AND m.kind IN ('stream_ticket', 'fee')
        CROSS JOIN LATERAL (
            SELECT m.amount::bigint - coalesce(sum(r.amount), 0)::bigint AS rest FROM core.refunds AS r WHERE r.original_id = m.id
        ) AS b
        WHERE t.id = ANY (v_ids) AND b.rest > 0;
        v_results := core._post_transfers(coalesce(v_requests, '{}'), NULL, false, true);
        SELECT r.* INTO v_refused FROM unnest(v_results) AS r WHERE r.error_code IS NOT NULL LIMIT 1;
        IF v_refused.error_code IS NOT NULL THEN
            PERFORM core._raise(v_refused.error_code, v_refused.error, v_refused.detail, 'Nothing was changed.');
        END IF;
        INSERT INTO core.refunds (original_id, transfer_id, amount, owed, policy, reason, created_at)
        SELECT
            o.original_id, o.transfer_id, o.amount,
            least(o.amount, greatest(0, w.minimum + w.held - o.from_balance)), 'create_debt', p_reason, o.created_at
        FROM ROWS FROM (unnest(v_originals), unnest(v_requests), unnest(v_results)) AS o (
            original_id, from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
            link, metadata, event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
            error_code, error, detail
        )
        INNER JOIN core.wallets AS w ON w.id = o.from_wallet_id;
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'transfer.posted', core._user_channels(o.from_owner_id, o.to_owner_id),
            core._transfer_payload(
                o.transfer_id, o.from_wallet_id, o.to_wallet_id, o.amount, o.asset, 'refund', p_reason, o.created_at
            ) || jsonb_build_object('refund_of', o.original_id)
        FROM ROWS FROM (unnest(v_originals), unnest(v_requests), unnest(v_results)) AS o (
            original_id, from_wallet_id, to_wallet_id, amount, asset, kind, reference, actor_id, idempotency_key, request_hash,
            link, metadata, event_at, transfer_id, from_balance, to_balance, from_owner_id, to_owner_id, created_at, replayed,
            error_code, error, detail
        );
        UPDATE core.tickets AS t SET refunded_at = clock_timestamp() WHERE t.id = ANY (v_ids);
    END LOOP;
    PERFORM core._stream_event('stream.cancelled', p_stream);
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'stream.cancelled', p_stream, jsonb_build_object('reason', p_reason));
END;
$$;

COMMENT ON FUNCTION core._cancel_stream(uuid, text, uuid) IS
'Ends the locked stream p_stream, which has not ended, as cancelled, and gives every ticket''s price back, fees included; raises where one is refused.';
