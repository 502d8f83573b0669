-- _act_rows: the audit log in the form that is sealed (docs/seals.md).
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._act_rows(p_from uuid, p_to uuid)
RETURNS TABLE (
    id uuid, created_at timestamptz, actor_id uuid, db_user text, action text, subject_id uuid, details text, request_id text,
    address text
)
LANGUAGE sql STABLE
AS $$
    SELECT l.id, l.created_at, l.actor_id, l.db_user, l.action, l.subject_id, l.details::text, l.request_id, l.address
    FROM core.audit_log AS l
    WHERE l.id >= p_from AND l.id < p_to
$$;

COMMENT ON FUNCTION core._act_rows(uuid, uuid) IS 'Rows of the audit log with an id from p_from up to p_to, in the columns and types that are sealed.';
