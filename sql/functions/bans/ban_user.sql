-- ban_user: a creator wants to hear nothing more from somebody.
-- Locks    nothing
-- Decides  that p_creator is a creator who may act and p_user exists; banned already: nothing changes
-- Writes   bans, outbox 'user.banned'
-- Errors   TS101 INVALID_REQUEST, TS112 SELF_BAN, TS211 USER_NOT_FOUND, TS212 CREATOR_NOT_FOUND
CREATE OR REPLACE FUNCTION api.ban_user(p_creator uuid, p_user uuid, p_reason text DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF p_reason IS NOT NULL THEN
        PERFORM core._check_reason(p_reason);
    END IF;
    IF NOT EXISTS (
        SELECT FROM core.users AS u WHERE u.id = p_creator AND u.status = 'active' AND 'creator' = ANY (u.roles)
    ) THEN
        PERFORM core._raise('TS212', 'CREATOR_NOT_FOUND', jsonb_build_object('creator_id', p_creator), 'Nobody was banned.');
    ELSIF p_creator = p_user THEN
        PERFORM core._raise('TS112', 'SELF_BAN', jsonb_build_object('user_id', p_user), 'Nobody was banned.');
    ELSIF NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_user) THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user), 'Nobody was banned.');
    END IF;
    INSERT INTO core.bans (creator_id, user_id, reason) VALUES (p_creator, p_user, p_reason)
    ON CONFLICT ON CONSTRAINT bans_pkey DO NOTHING;
    IF FOUND THEN
        INSERT INTO core.outbox (type, channels, payload)
        VALUES (
            'user.banned', ARRAY['creator:' || p_creator::text],
            jsonb_build_object('creator_id', p_creator, 'user_id', p_user, 'reason', p_reason)
        );
        RETURN true;
    END IF;
    RETURN false;
END;
$$;

COMMENT ON FUNCTION api.ban_user(uuid, uuid, text) IS
'Bans user p_user from the chats of creator p_creator''s streams and from calling them; false where they were banned before. Tickets and tips are not touched.';
