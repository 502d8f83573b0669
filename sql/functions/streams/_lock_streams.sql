-- _lock_streams: streams whose tickets are sold or given back, before any wallet.
-- Locks    the streams FOR NO KEY UPDATE, in id order
-- Errors   none; ids that do not exist are passed over
CREATE OR REPLACE FUNCTION core._lock_streams(p_ids uuid []) RETURNS void
LANGUAGE plpgsql VOLATILE
AS $$
BEGIN
    PERFORM
    FROM core.streams AS s
    WHERE s.id = ANY (p_ids)
    ORDER BY s.id
    FOR NO KEY UPDATE;
END;
$$;

COMMENT ON FUNCTION core._lock_streams(uuid []) IS 'Locks streams in id order; wallets are locked after them.';
