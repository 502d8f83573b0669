-- _in_month: ids of transfers, made before the locks were had, in the month of the time they are dated: partitions are by
-- id, and hold what happened in their months.
-- Errors   none
CREATE OR REPLACE FUNCTION core._in_month(p_ids uuid [], p_now timestamptz) RETURNS uuid []
LANGUAGE sql VOLATILE
AS $$
    SELECT CASE
        WHEN date_trunc('month', core._uuid_time(p_ids[1]), 'UTC') = date_trunc('month', p_now, 'UTC')
            AND date_trunc('month', core._uuid_time(p_ids[cardinality(p_ids)]), 'UTC') = date_trunc('month', p_now, 'UTC')
            THEN p_ids
        ELSE ARRAY(SELECT core._uuid_at(p_now) FROM unnest(p_ids))
    END
$$;

COMMENT ON FUNCTION core._in_month(uuid [], timestamptz) IS
'The ids as they are, or, when a month (UTC) ended between the first of them and p_now, others of p_now.';
