-- _cancel_stream: a stream will not be, or breaks off; every ticket is given back.
-- Locks    the wallets of its viewers, the creator and the revenue shards, in id order; called when the stream is locked
-- Decides  that every payment is there to be given back; then as core._post_transfers, where a creator who has spent it will
--          owe it
-- Writes   streams, wallets, transfers (refund), entries, refunds, tickets (refunded_at), outbox 'transfer.refunded' and
--          'ticket.refunded' for each and 'stream.cancelled', audit_log 'stream.cancelled'
-- Errors   TS240 HISTORY_DETACHED, TS310 WALLET_FROZEN, TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT
CREATE OR REPLACE FUNCTION core._cancel_stream(p_stream uuid, p_reason text, p_actor uuid) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    c_batch CONSTANT integer := 2000;
    v_ids uuid[];
    v_transfers uuid[];
    v_refused core.transfer_result;
BEGIN
    UPDATE core.streams AS s
    SET status = 'ended', ended_at = clock_timestamp(), cancelled_at = clock_timestamp(), updated_at = clock_timestamp()
    WHERE s.id = p_stream;
    IF EXISTS (SELECT FROM core.tickets AS t WHERE t.stream_id = p_stream AND t.refunded_at IS NULL AND core._is_detached(t.transfer_id)) THEN
        PERFORM core._raise(
            'TS240', 'HISTORY_DETACHED', jsonb_build_object('stream_id', p_stream), 'Tickets were paid for in months that are detached: attach them first.'
        );
    END IF;
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
        v_transfers := ARRAY(
            SELECT m.id
            FROM core.tickets AS t
            INNER JOIN core.transfers AS p ON p.id = t.transfer_id
            CROSS JOIN LATERAL (
                SELECT p.id
                UNION ALL
                SELECT e.transfer_id FROM core.entries AS e
                WHERE e.wallet_id = p.from_wallet_id AND e.seq = p.from_seq + 1 AND t.platform_fee > 0 AND t.platform_fee < t.price
            ) AS x
            INNER JOIN core.transfers AS m ON m.id = x.id AND m.kind IN ('stream_ticket', 'fee')
            WHERE t.id = ANY (v_ids)
            ORDER BY m.id
        );
        SELECT r.* INTO v_refused FROM core._give_back(v_transfers, p_reason, p_actor) AS r WHERE r.error_code IS NOT NULL LIMIT 1;
        IF v_refused.error_code IS NOT NULL THEN
            PERFORM core._raise(v_refused.error_code, v_refused.error, v_refused.detail, 'Nothing was changed.');
        END IF;
        WITH refunded AS (
            UPDATE core.tickets AS t SET refunded_at = clock_timestamp()
            WHERE t.id = ANY (v_ids)
            RETURNING t.id, t.stream_id, t.viewer_id, t.price, t.refunded_at
        )
        INSERT INTO core.outbox (type, channels, payload)
        SELECT
            'ticket.refunded', ARRAY['user:' || r.viewer_id::text, 'creator:' || s.creator_id::text],
            jsonb_build_object(
                'ticket_id', r.id, 'stream_id', r.stream_id, 'creator_id', s.creator_id, 'viewer_id', r.viewer_id,
                'price', r.price, 'reason', p_reason, 'refunded_at', r.refunded_at
            )
        FROM refunded AS r
        CROSS JOIN (SELECT x.creator_id FROM core.streams AS x WHERE x.id = p_stream) AS s;
    END LOOP;
    PERFORM core._stream_event('stream.cancelled', p_stream);
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (p_actor, 'stream.cancelled', p_stream, jsonb_build_object('reason', p_reason));
END;
$$;

COMMENT ON FUNCTION core._cancel_stream(uuid, text, uuid) IS
'Ends the locked stream p_stream, which has not ended, as cancelled, and gives every ticket''s price back, fees included; raises where one is refused.';
