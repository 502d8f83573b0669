-- verify_seals: is history what it was when it was sealed?
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.verify_seals(p_from_block bigint DEFAULT NULL, p_to_block bigint DEFAULT NULL)
RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_custom_plan
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    v_seal core.seals;
    v_last core.seals;
    v_found record;
    v_books CONSTANT uuid := core._uuid_floor((SELECT max(p.attached_from) FROM core.partitioned AS p WHERE p.books AND isfinite(p.attached_from)));
    v_acts CONSTANT uuid := core._uuid_floor((SELECT p.attached_from FROM core.partitioned AS p WHERE p.name = 'audit_log' AND isfinite(p.attached_from)));
    v_first uuid;
    v_entries bigint := 0;
    v_counted bigint;
BEGIN
    FOR v_seal IN
        SELECT s.* FROM core.seals AS s
        WHERE s.block BETWEEN greatest(p_from_block, 1) - 1 AND coalesce(p_to_block, 9223372036854775807)
        ORDER BY s.block
    LOOP
        IF v_seal.block >= coalesce(p_from_block, 1) THEN
            subject := 'block ' || v_seal.block;
            IF v_seal.digest <> core._seal_digest(v_seal) THEN
                rule := 'seal_is_its_digest';
                detail := jsonb_build_object('digest', encode(v_seal.digest, 'hex'), 'must_be', encode(core._seal_digest(v_seal), 'hex'));
                RETURN NEXT;
            END IF;
            IF v_seal.block > 1 AND (v_last.block, v_last.to_id, v_last.digest) IS DISTINCT FROM (v_seal.block - 1, v_seal.from_id, v_seal.previous)
                OR v_seal.block = 1 AND v_seal.previous <> decode(repeat('00', 32), 'hex')
            THEN
                rule := 'seal_follows_the_one_before';
                detail := jsonb_build_object('before', v_last.block, 'previous', encode(v_seal.previous, 'hex'), 'its_digest', encode(v_last.digest, 'hex'));
                RETURN NEXT;
            END IF;
            SELECT c.* INTO v_found FROM core._seal_content(v_seal.from_id, v_seal.to_id) AS c;
            detail := jsonb_build_object('from_id', v_seal.from_id, 'to_id', v_seal.to_id, 'up_to', core._uuid_time(v_seal.to_id));
            -- by its end: a block may begin in a month that had nothing more to seal, and hold what is in the next
            IF (v_seal.to_id <= v_books) IS NOT TRUE THEN
                v_first := coalesce(v_first, v_seal.from_id);
                v_entries := v_entries + 2 * v_found.transfers;
                IF (v_found.transfers, v_found.transfers_digest) <> (v_seal.transfers, v_seal.transfers_digest) THEN
                    rule := 'sealed_transfers_are_unchanged';
                    detail := detail || jsonb_build_object('sealed', v_seal.transfers, 'found', v_found.transfers);
                    RETURN NEXT;
                END IF;
            END IF;
            IF (v_found.wallets, v_found.wallets_digest) <> (v_seal.wallets, v_seal.wallets_digest) THEN
                rule := 'sealed_wallets_are_unchanged';
                detail := detail || jsonb_build_object('sealed', v_seal.wallets, 'found', v_found.wallets);
                RETURN NEXT;
            END IF;
            IF (v_seal.to_id <= v_acts) IS NOT TRUE AND (v_found.acts, v_found.acts_digest) <> (v_seal.acts, v_seal.acts_digest) THEN
                rule := 'sealed_acts_are_unchanged';
                detail := detail || jsonb_build_object('sealed', v_seal.acts, 'found', v_found.acts);
                RETURN NEXT;
            END IF;
        END IF;
        v_last := v_seal;
    END LOOP;
    IF v_first IS NOT NULL AND p_from_block IS NULL AND p_to_block IS NULL THEN
        v_counted := (SELECT count(*) FROM core.entries AS e WHERE e.transfer_id >= v_first AND e.transfer_id < v_last.to_id);
        IF v_counted <> v_entries THEN
            rule := 'sealed_transfers_have_two_entries';
            subject := 'blocks up to ' || v_last.block;
            detail := jsonb_build_object('entries', v_counted, 'transfers', v_entries / 2);
            RETURN NEXT;
        END IF;
    END IF;
END;
$$;

COMMENT ON FUNCTION api.verify_seals(bigint, bigint) IS
'Computes every sealed block anew from what is there now and returns a row for each that differs, or is not chained to the one before: the rule, the block, its range. No rows: nothing sealed was changed, removed or added since, as far as the seals themselves can be trusted; compare the newest digest with one that was kept elsewhere (tessera audit --anchor). Detached months are passed over. p_from_block and p_to_block: only these. Reads one snapshot and locks nothing.';
