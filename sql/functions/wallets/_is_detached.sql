-- _is_detached: whether a transfer of this id is one of the months that are detached.
-- Errors   none
CREATE OR REPLACE FUNCTION core._is_detached(p_transfer uuid) RETURNS boolean
LANGUAGE sql STABLE
AS $$
    SELECT p_transfer < core._uuid_floor(p.attached_from) FROM core.partitioned AS p
    WHERE p.name = 'transfers' AND isfinite(p.attached_from)
    UNION ALL
    SELECT false
    LIMIT 1
$$;

COMMENT ON FUNCTION core._is_detached(uuid) IS 'Whether a transfer of this id belongs to months that are detached (api.detach_month).';
