-- run_audit: check the books, and keep what was found.
-- Locks    nothing
-- Decides  nothing
-- Writes   audits: one more, and all but the newest thousand away; outbox 'audit.failed' where something was found
-- Errors   none
CREATE OR REPLACE FUNCTION api.run_audit() RETURNS SETOF api.audits
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_started CONSTANT timestamptz := clock_timestamp();
    v_found jsonb [];
    v_id uuid;
BEGIN
    v_found := ARRAY(SELECT to_jsonb(v) FROM api.audit_ledger() AS v);
    INSERT INTO core.audits (started_at, finished_at, violations, found)
    VALUES (v_started, greatest(v_started, clock_timestamp()), cardinality(v_found), to_jsonb(v_found [1:100]))
    RETURNING id INTO v_id;
    IF cardinality(v_found) > 0 THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'audit.failed', ARRAY['ops'],
            jsonb_build_object(
                'audit_id', v_id, 'violations', cardinality(v_found),
                'rules', (SELECT jsonb_object_agg(f.rule, f.times) FROM (
                    SELECT x.v ->> 'rule' AS rule, count(*) AS times FROM unnest(v_found) AS x (v) GROUP BY x.v ->> 'rule'
                ) AS f),
                'started_at', v_started
            )
        );
    END IF;
    DELETE FROM core.audits AS a
    WHERE a.id < (SELECT o.id FROM core.audits AS o ORDER BY o.id DESC OFFSET 999 LIMIT 1);
    RETURN QUERY SELECT a.* FROM api.audits AS a WHERE a.audit_id = v_id;
END;
$$;

COMMENT ON FUNCTION api.run_audit() IS 'Runs api.audit_ledger(), keeps the outcome in api.audits and returns it. The scheduler calls it; people may.';
