-- _lock_payout: a payout that is about to change.
-- Locks    the payout, FOR NO KEY UPDATE
-- Decides  that it exists, and is p_user's where one is named
-- Writes   nothing
-- Errors   TS260 PAYOUT_NOT_FOUND
CREATE OR REPLACE FUNCTION core._lock_payout(p_payout uuid, p_user uuid DEFAULT NULL) RETURNS core.payouts
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_payout core.payouts;
BEGIN
    SELECT p.* INTO v_payout FROM core.payouts AS p WHERE p.id = p_payout FOR NO KEY UPDATE;
    IF v_payout.id IS NULL OR v_payout.user_id <> p_user THEN
        PERFORM core._raise('TS260', 'PAYOUT_NOT_FOUND', jsonb_build_object('payout_id', p_payout), 'api.payouts lists them.');
    END IF;
    RETURN v_payout;
END;
$$;

COMMENT ON FUNCTION core._lock_payout(uuid, uuid) IS 'The payout, locked; raises when there is none, or p_user is named and it is another''s.';
