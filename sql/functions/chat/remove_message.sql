-- remove_message: take a message out of a chat.
-- Locks    the message
-- Decides  that p_actor wrote it, owns the stream or is a moderator; removed already: nothing changes
-- Writes   messages, outbox 'chat.message_removed'
-- Errors   TS211 USER_NOT_FOUND, TS225 MESSAGE_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.remove_message(p_stream uuid, p_message uuid, p_actor uuid DEFAULT NULL) RETURNS boolean
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_message core.messages;
BEGIN
    PERFORM core._check_actor(p_actor);
    SELECT m.* INTO v_message FROM core.messages AS m
    WHERE m.id = p_message AND m.stream_id = p_stream
    FOR NO KEY UPDATE;
    IF v_message.id IS NULL THEN
        PERFORM core._raise(
            'TS225', 'MESSAGE_NOT_FOUND', jsonb_build_object('stream_id', p_stream, 'message_id', p_message), 'api.messages lists them.'
        );
    ELSIF
        p_actor <> v_message.user_id
        AND NOT EXISTS (SELECT FROM core.streams AS s WHERE s.id = p_stream AND s.creator_id = p_actor)
        AND NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = p_actor AND u.roles && ARRAY['moderator', 'admin'])
    THEN
        PERFORM core._raise(
            'TS504', 'FORBIDDEN', jsonb_build_object('message_id', p_message, 'required_role', 'moderator'),
            'Its author, the stream''s creator and moderators may.'
        );
    ELSIF v_message.removed_at IS NOT NULL THEN
        RETURN false;
    END IF;
    UPDATE core.messages AS m SET removed_at = clock_timestamp(), removed_by = p_actor WHERE m.id = p_message;
    INSERT INTO core.outbox (type, channels, payload)
    VALUES (
        'chat.message_removed', ARRAY['stream:' || p_stream::text],
        jsonb_build_object('message_id', p_message, 'stream_id', p_stream, 'removed_by', p_actor)
    );
    RETURN true;
END;
$$;

COMMENT ON FUNCTION api.remove_message(uuid, uuid, uuid) IS
'Removes message p_message from the chat of stream p_stream; false where it was removed before. p_actor, where named, must be its author, the stream''s creator, or a moderator.';
