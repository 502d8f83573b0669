-- _fill_replays: the stored outcome of requests that had taken effect before.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._fill_replays(p_results core.transfer_result [], p_replays uuid [])
RETURNS core.transfer_result []
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_results core.transfer_result[] := p_results;
    v_result core.transfer_result;
BEGIN
    FOR v_i IN 1..cardinality(p_results) LOOP
        CONTINUE WHEN p_replays[v_i] IS NULL;
        -- subqueries: joins, planned while the tables are small, may read all of a wallet's entries
        SELECT
            t.id,
            (SELECT d.balance FROM core.entries AS d WHERE d.wallet_id = t.from_wallet_id AND d.seq = t.from_seq),
            (SELECT c.balance FROM core.entries AS c WHERE c.wallet_id = t.to_wallet_id AND c.seq = t.to_seq),
            (SELECT f.owner_id FROM core.wallets AS f WHERE f.id = t.from_wallet_id),
            (SELECT o.owner_id FROM core.wallets AS o WHERE o.id = t.to_wallet_id),
            t.created_at, true, NULL, NULL, NULL
        INTO v_result
        FROM core.transfers AS t
        WHERE t.id = p_replays[v_i];
        v_results[v_i] := v_result;
    END LOOP;
    RETURN v_results;
END;
$$;

COMMENT ON FUNCTION core._fill_replays(core.transfer_result [], uuid []) IS
'Puts in the results of replayed requests: the transfer as it was written, with the balances right after it.';
