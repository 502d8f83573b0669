-- _audit_adjustments: the invariants of movements by hand, and of who referred whom.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._audit_adjustments() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE
AS $$
    SELECT
        'adjustment_has_its_transfer', 'adjustment ' || a.id::text,
        jsonb_build_object('transfer_id', a.transfer_id, 'amount', a.amount, 'transfer_amount', t.amount)
    FROM core.adjustments AS a
    LEFT JOIN core.transfers AS t ON t.id = a.transfer_id
    WHERE
        a.status = 'approved' AND (
            t.amount::bigint IS DISTINCT FROM a.amount OR t.from_wallet_id IS DISTINCT FROM a.from_wallet_id
            OR t.to_wallet_id IS DISTINCT FROM a.to_wallet_id OR t.kind IS DISTINCT FROM 'adjustment'
        )
        AND NOT core._is_detached(a.transfer_id)
    UNION ALL
    SELECT
        'adjustment_took_two_people', 'adjustment ' || a.id::text,
        jsonb_build_object(
            'requested_by', a.requested_by, 'requested_db_user', a.requested_db_user,
            'decided_by', a.decided_by, 'decided_db_user', a.decided_db_user
        )
    FROM core.adjustments AS a
    WHERE
        a.status = 'approved'
        AND (
            a.requested_by = a.decided_by
            OR (a.requested_by IS NULL OR a.decided_by IS NULL) AND a.requested_db_user = a.decided_db_user
        )
    UNION ALL
    SELECT 'referral_is_no_circle', 'user ' || c.id::text, jsonb_build_object('referred_by_id', c.referred_by_id)
    FROM (
        WITH RECURSIVE line AS (
            SELECT u.id, u.referred_by_id, u.referred_by_id AS above
            FROM core.users AS u
            WHERE u.referred_by_id IS NOT NULL
            UNION
            SELECT l.id, l.referred_by_id, u.referred_by_id
            FROM line AS l
            INNER JOIN core.users AS u ON u.id = l.above
            WHERE u.referred_by_id IS NOT NULL AND l.above <> l.id
        )
        SELECT l.id, l.referred_by_id FROM line AS l WHERE l.above = l.id
    ) AS c
$$;

COMMENT ON FUNCTION core._audit_adjustments() IS 'Broken invariants of adjustments and referrals, as api.audit_ledger() returns them.';
