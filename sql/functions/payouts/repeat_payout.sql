-- repeat_payout: what a key already led to, before anybody is asked for a password again.
-- Locks    nothing
-- Decides  same key and same request: the receipt; same key, other request: an error; a new key: no row
-- Writes   nothing
-- Errors   TS106 IDEMPOTENCY_KEY_INVALID, TS301 IDEMPOTENCY_KEY_REUSED
CREATE OR REPLACE FUNCTION api.repeat_payout(p_user uuid, p_amount bigint, p_account uuid, p_key text)
RETURNS SETOF api.payout_receipt
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_stored CONSTANT jsonb := core._stored_result(
        p_user, p_key, core._request_hash(p_key, record_send(ROW('payout'::text, p_amount, p_account)))
    );
BEGIN
    IF v_stored IS NOT NULL THEN
        RETURN NEXT jsonb_populate_record(NULL::api.payout_receipt, v_stored || '{"replayed": true}');
    END IF;
END;
$$;

COMMENT ON FUNCTION api.repeat_payout(uuid, bigint, uuid, text) IS
'The receipt that api.request_payout gave for this key, if it has; a repeated request needs no second code, which would be refused as used.';
