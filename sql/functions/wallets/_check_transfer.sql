-- _check_transfer: what can be said against a transfer request before any wallet is locked.
-- Locks    nothing
-- Decides  the form of kind (and that it is not another function's), reference, metadata and key; that event_at is not to come; that a named actor exists and is not suspended
-- Writes   nothing
-- Errors   TS109 INVALID_KIND, TS101 INVALID_REQUEST, TS105 METADATA_TOO_LARGE, TS106 IDEMPOTENCY_KEY_INVALID,
--          TS211 USER_NOT_FOUND, TS502 USER_SUSPENDED (returned, not raised)
CREATE OR REPLACE FUNCTION core._check_transfer(
    p_kind text,
    p_reference text,
    p_metadata jsonb,
    p_key text,
    p_actor_id uuid,
    p_actor_status text,
    p_event_at timestamptz DEFAULT NULL,
    p_own boolean DEFAULT false
) RETURNS core.refusal
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
    SELECT CASE
        WHEN p_kind = 'transfer' IS NOT TRUE AND p_kind ~ '^[a-z][a-z0-9_.]{0,62}$' IS NOT TRUE
            THEN ROW('TS109', 'INVALID_KIND', jsonb_build_object('kind', left(p_kind, 80)))::core.refusal
        WHEN NOT p_own AND p_kind IN (
            'tip', 'fee', 'refund', 'reward', 'referral', 'adjustment', 'stream_ticket', 'call_block', 'purchase', 'purchase_restored',
            'payout', 'payout_paid'
        )
            THEN ROW('TS109', 'INVALID_KIND', jsonb_build_object('kind', p_kind, 'reserved', true))::core.refusal
        WHEN octet_length(p_reference) > 255
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'reference', 'maximum_bytes', 255))::core.refusal
        WHEN pg_column_size(p_metadata) > 4096
            THEN ROW('TS105', 'METADATA_TOO_LARGE', jsonb_build_object('bytes', pg_column_size(p_metadata), 'maximum_bytes', 4096))::core.refusal
        WHEN octet_length(p_key) NOT BETWEEN 1 AND 255
            THEN ROW('TS106', 'IDEMPOTENCY_KEY_INVALID', jsonb_build_object('bytes', octet_length(p_key), 'maximum_bytes', 255))::core.refusal
        WHEN p_event_at > clock_timestamp() OR p_event_at = '-infinity'
            THEN ROW('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'event_at', 'maximum', clock_timestamp()))::core.refusal
        WHEN p_actor_id IS NOT NULL AND p_actor_status IS NULL
            THEN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_actor_id))::core.refusal
        WHEN p_actor_status <> 'active'
            THEN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_actor_id))::core.refusal
    END
$$;

COMMENT ON FUNCTION core._check_transfer(text, text, jsonb, text, uuid, text, timestamptz, boolean) IS
'The refusal of a transfer request that is malformed or whose actor may not act; NULL when nothing speaks against it. Kinds of functions that write more than the transfer are refused unless it is such a function that asks (p_own).';
