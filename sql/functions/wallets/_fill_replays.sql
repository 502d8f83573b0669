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
        SELECT t.id, d.balance, c.balance, f.owner_id, o.owner_id, t.created_at, true, NULL, NULL, NULL
        INTO v_result
        FROM core.transfers AS t
        INNER JOIN core.entries AS d ON d.wallet_id = t.from_wallet_id AND d.seq = t.from_seq
        INNER JOIN core.entries AS c ON c.wallet_id = t.to_wallet_id AND c.seq = t.to_seq
        INNER JOIN core.wallets AS f ON f.id = t.from_wallet_id
        INNER JOIN core.wallets AS o ON o.id = t.to_wallet_id
        WHERE t.id = p_replays[v_i];
        v_results[v_i] := v_result;
    END LOOP;
    RETURN v_results;
END;
$$;

COMMENT ON FUNCTION core._fill_replays(core.transfer_result [], uuid []) IS
'Puts in the results of replayed requests: the transfer as it was written, with the balances right after it.';
