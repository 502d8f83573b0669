-- partitions: the partitions there are.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.partitions()
RETURNS TABLE (
    table_name text, partition_name text, from_at timestamptz, to_at timestamptz, state text, estimated_rows bigint,
    bytes bigint, misplaced boolean
)
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_one record;
    v_relation regclass;
BEGIN
    FOR v_one IN
        SELECT p.table_name, p.name, p.from_at, p.to_at, CASE WHEN p.detached_to IS NULL THEN 'attached' ELSE 'detached' END AS state
        FROM core.partitions AS p
        UNION ALL
        SELECT t.name, t.name || '_default', NULL, NULL, 'default' FROM core.partitioned AS t
        ORDER BY 1, 4
    LOOP
        v_relation := to_regclass(format('core.%I', v_one.name));
        misplaced := false;
        IF v_one.state = 'default' THEN
            EXECUTE format('SELECT EXISTS (SELECT FROM core.%I)', v_one.name) INTO misplaced;
        END IF;
        table_name := v_one.table_name;
        partition_name := v_one.name;
        from_at := v_one.from_at;
        to_at := v_one.to_at;
        state := CASE WHEN v_relation IS NULL THEN 'elsewhere' ELSE v_one.state END;
        estimated_rows := (SELECT greatest(c.reltuples, 0)::bigint FROM pg_class AS c WHERE c.oid = v_relation);
        bytes := pg_total_relation_size(v_relation);
        RETURN NEXT;
    END LOOP;
END;
$$;

COMMENT ON FUNCTION api.partitions() IS
'Partitions of each table by month (UTC), with their size: attached, detached, elsewhere (detached and dropped), and the default one, which takes what no other one does: misplaced is true where it holds rows.';
