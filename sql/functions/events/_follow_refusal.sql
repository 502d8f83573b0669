-- _follow_refusal: the only judge of who may follow a channel.
-- Locks    nothing
-- Decides  the name of the channel; that the user is active; whose the channel is, and of streams as core._access_reason
-- Writes   nothing
-- Errors   none raised; returned: TS120 INVALID_CHANNEL, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND, TS219 CALL_NOT_FOUND,
--          TS502 USER_SUSPENDED, TS504 FORBIDDEN, TS506 NO_ACCESS_TO_STREAM, TS508 NOT_CALL_PARTICIPANT
CREATE OR REPLACE FUNCTION core._follow_refusal(p_user uuid, p_channel text) RETURNS core.refusal
LANGUAGE plpgsql STABLE
AS $$
DECLARE
    v_kind CONSTANT text := split_part(p_channel, ':', 1);
    v_facts CONSTANT jsonb := jsonb_build_object('channel', left(p_channel, 100));
    v_user core.users;
    v_call core.calls;
    v_reason text;
BEGIN
    IF (p_channel = 'ops' OR p_channel ~ '^(user|creator|stream|call):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$') IS NOT TRUE THEN
        RETURN ROW('TS120', 'INVALID_CHANNEL', v_facts)::core.refusal;
    END IF;
    SELECT u.* INTO v_user FROM core.users AS u WHERE u.id = p_user;
    IF NOT FOUND THEN
        RETURN ROW('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', p_user))::core.refusal;
    ELSIF v_user.status <> 'active' THEN
        RETURN ROW('TS502', 'USER_SUSPENDED', jsonb_build_object('user_id', p_user))::core.refusal;
    END IF;
    CASE v_kind
        WHEN 'stream' THEN
            v_reason := core._access_reason(substr(p_channel, 8)::uuid, p_user);
            IF v_reason IS NULL THEN
                RETURN ROW('TS218', 'STREAM_NOT_FOUND', v_facts)::core.refusal;
            ELSIF v_reason = 'no_ticket' THEN
                RETURN ROW('TS506', 'NO_ACCESS_TO_STREAM', v_facts || '{"reason": "no_ticket"}')::core.refusal;
            END IF;
        WHEN 'call' THEN
            SELECT c.* INTO v_call FROM core.calls AS c WHERE c.id = substr(p_channel, 6)::uuid;
            IF NOT FOUND THEN
                RETURN ROW('TS219', 'CALL_NOT_FOUND', v_facts)::core.refusal;
            ELSIF p_user NOT IN (v_call.fan_id, v_call.creator_id) THEN
                RETURN ROW('TS508', 'NOT_CALL_PARTICIPANT', v_facts)::core.refusal;
            END IF;
        WHEN 'ops' THEN
            IF NOT v_user.roles && '{operator,admin}' THEN
                RETURN ROW('TS504', 'FORBIDDEN', v_facts)::core.refusal;
            END IF;
        ELSE
            IF split_part(p_channel, ':', 2)::uuid <> p_user THEN
                RETURN ROW('TS504', 'FORBIDDEN', v_facts)::core.refusal;
            END IF;
    END CASE;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._follow_refusal(uuid, text) IS
'Why user p_user may not follow channel p_channel; NULL: they may. stream: as core._access_reason; call: its two people; user, creator: oneself; ops: operators and admins.';
