-- _check_operator: whoever is named as the one who decides about a payout must be an operator, and not the one who is paid.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   TS211 USER_NOT_FOUND, TS502 USER_SUSPENDED, TS503 SAME_PERSON, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION core._check_operator(p_actor uuid, p_user uuid) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    PERFORM core._check_actor(p_actor);
    IF EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND NOT u.roles && ARRAY['operator', 'admin']) THEN
        PERFORM core._raise(
            'TS504', 'FORBIDDEN', jsonb_build_object('user_id', p_actor, 'role', 'operator'), 'Only an operator may.'
        );
    ELSIF p_actor = p_user THEN
        PERFORM core._raise(
            'TS503', 'SAME_PERSON', jsonb_build_object('user_id', p_actor), 'Somebody else has to decide about your payout.'
        );
    END IF;
END;
$$;

COMMENT ON FUNCTION core._check_operator(uuid, uuid) IS 'Raises when the user who is said to act does not exist, is suspended, is neither operator nor admin, or is p_user; nothing where none is named (then it is the database login that acts).';
