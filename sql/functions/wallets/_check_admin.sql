-- _check_admin: whoever is named as the one who acts must be an administrator who may act.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   TS211 USER_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION core._check_admin(p_actor uuid) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    PERFORM core._check_actor(p_actor);
    IF EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND NOT 'admin' = ANY (u.roles)) THEN
        PERFORM core._raise(
            'TS504', 'FORBIDDEN', jsonb_build_object('user_id', p_actor, 'role', 'admin'), 'Only an administrator may.'
        );
    END IF;
END;
$$;

COMMENT ON FUNCTION core._check_admin(uuid) IS 'Raises when the user who is said to act does not exist, is suspended or is no administrator; nothing where none is named (then it is the database login that acts).';
