-- _fill_replays: the stored outcome of requests that had taken effect before.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS240 HISTORY_DETACHED (returned, not raised)
CREATE OR REPLACE FUNCTION core._fill_replays(p_results core.transfer_result [], p_replays uuid [])
RETURNS core.transfer_result []
LANGUAGE plpgsql VOLATILE
AS $$
DECLARE
    v_results core.transfer_result[] := p_results;
    v_result core.transfer_result;
    v_transfer core.transfers;
BEGIN
    FOR v_i IN 1..cardinality(p_results) LOOP
        CONTINUE WHEN p_replays[v_i] IS NULL;
        -- one after the other, each by a value that is known when it starts: so it opens one partition, not all
        SELECT t.* INTO v_transfer FROM core.transfers AS t WHERE t.id = p_replays[v_i];
        IF v_transfer.id IS NULL THEN
            v_result := ROW(
                NULL, NULL, NULL, NULL, NULL, NULL, false, 'TS240', 'HISTORY_DETACHED',
                jsonb_build_object('transfer_id', p_replays[v_i])
            );
        ELSE
            -- subqueries: joins, planned while the tables are small, may read all of a wallet's entries
            SELECT
                v_transfer.id,
                (
                    SELECT d.balance FROM core.entries AS d
                    WHERE d.wallet_id = v_transfer.from_wallet_id AND d.seq = v_transfer.from_seq AND d.transfer_id = v_transfer.id
                ),
                (
                    SELECT c.balance FROM core.entries AS c
                    WHERE c.wallet_id = v_transfer.to_wallet_id AND c.seq = v_transfer.to_seq AND c.transfer_id = v_transfer.id
                ),
                (SELECT f.owner_id FROM core.wallets AS f WHERE f.id = v_transfer.from_wallet_id),
                (SELECT o.owner_id FROM core.wallets AS o WHERE o.id = v_transfer.to_wallet_id),
                v_transfer.created_at, true, NULL, NULL, NULL
            INTO v_result;
        END IF;
        v_results[v_i] := v_result;
    END LOOP;
    RETURN v_results;
END;
$$;

COMMENT ON FUNCTION core._fill_replays(core.transfer_result [], uuid []) IS
'Puts in the results of replayed requests: the transfer as it was written, with the balances right after it; TS240 where its month is detached.';
