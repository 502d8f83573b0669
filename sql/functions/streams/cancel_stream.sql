-- cancel_stream: a stream will not be, or breaks off; every ticket is given back.
-- Locks    the stream; then the wallets of its viewers, the creator and the revenue shards, in id order
-- Decides  that it is p_actor's and has not ended; then as core._post_transfers, where a creator who has spent it will owe it
-- Writes   streams, wallets, transfers (refund), entries, refunds, tickets (refunded_at), outbox 'transfer.posted' for each
--          and 'stream.cancelled', audit_log 'stream.cancelled'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS240 HISTORY_DETACHED, TS310 WALLET_FROZEN,
--          TS311 WALLET_CLOSED, TS314 BALANCE_LIMIT, TS328 STREAM_ENDED, TS502 USER_SUSPENDED, TS505 NOT_STREAM_OWNER
CREATE OR REPLACE FUNCTION api.cancel_stream(p_stream uuid, p_reason text, p_actor uuid DEFAULT NULL) RETURNS SETOF api.streams
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
BEGIN
    PERFORM core._open_stream(p_stream, p_actor);
    PERFORM core._check_reason(p_reason);
    PERFORM core._cancel_stream(p_stream, p_reason, p_actor);
    RETURN QUERY SELECT s.* FROM api.streams AS s WHERE s.stream_id = p_stream;
END;
$$;

COMMENT ON FUNCTION api.cancel_stream(uuid, text, uuid) IS
'Cancels stream p_stream, scheduled or live, and gives every ticket''s price back in the same commit, fees included. What the creator has spent of it becomes a debt that future credits pay off first. p_reason is required; p_actor must be its creator where named. Once: a stream that has ended is TS328.';
