-- _check_actor: whoever is named as the one who asks must exist and not be suspended.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   TS211 USER_NOT_FOUND, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION core._check_actor(p_actor uuid) RETURNS void
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_status text;
BEGIN
    IF p_actor IS NULL THEN
        RETURN;
    END IF;
    SELECT u.status INTO v_status FROM core.users AS u WHERE u.id = p_actor;
    IF v_status IS NULL THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_actor), 'Nothing was done.');
    ELSIF v_status <> 'active' THEN
        PERFORM core._raise('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_actor), 'Nothing was done.');
    END IF;
END;
$$;

COMMENT ON FUNCTION core._check_actor(uuid) IS 'Raises when the user who is said to ask does not exist or is suspended; nothing where none is named.';
