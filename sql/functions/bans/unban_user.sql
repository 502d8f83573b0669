-- unban_user: a creator takes a ban back.
-- Locks    the ban
-- Decides  nothing; no such ban: nothing changes
-- Writes   bans, outbox 'user.unbanned'
-- Errors   none
CREATE OR REPLACE FUNCTION api.unban_user(p_creator uuid, p_user uuid) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM core.bans AS b WHERE b.creator_id = p_creator AND b.user_id = p_user;
    IF FOUND THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'user.unbanned', ARRAY['creator:' || p_creator::text],
            jsonb_build_object('creator_id', p_creator, 'user_id', p_user)
        );
        RETURN true;
    END IF;
    RETURN false;
END;
$$;

COMMENT ON FUNCTION api.unban_user(uuid, uuid) IS 'Takes back the ban of user p_user by creator p_creator; false where there was none.';
