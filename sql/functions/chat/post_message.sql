-- post_message: somebody says something in the chat of a stream.
-- Locks    the counter of this user in this stream, so that two messages at once are counted one after the other
-- Decides  the key; that the stream has not ended and p_user may watch it and is not banned by its creator; the rate
--          chat_messages_minute, in fixed minutes (UTC)
-- Writes   chat_counters, messages, outbox 'chat.message', idempotency result
-- Errors   TS101 INVALID_REQUEST, TS106 IDEMPOTENCY_KEY_INVALID, TS211 USER_NOT_FOUND, TS218 STREAM_NOT_FOUND,
--          TS301 IDEMPOTENCY_KEY_REUSED, TS328 STREAM_ENDED, TS502 USER_SUSPENDED, TS506 NO_ACCESS_TO_STREAM, TS507 BANNED,
--          TS604 CHAT_LIMIT, TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.post_message(
    p_stream uuid,
    p_user uuid,
    p_body text,
    p_key text DEFAULT NULL,
    OUT message_id uuid,
    OUT created_at timestamptz,
    OUT replayed boolean
)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan
SET enable_seqscan = off
SET enable_hashjoin = off
SET enable_mergejoin = off
AS $$
DECLARE
    c_window CONSTANT interval := '1 minute';
    v_limit CONSTANT integer := core._rate('chat_messages_minute')::integer;
    v_hash CONSTANT bytea := core._request_hash(p_key, record_send(ROW('chat'::text, p_stream, p_user, p_body)));
    v_now timestamptz;
    v_since timestamptz;
    v_used integer;
    v_stored jsonb;
    v_stream core.streams;
BEGIN
    IF p_user IS NULL OR (char_length(p_body) BETWEEN 1 AND 500 AND p_body ~ '\S') IS NOT TRUE THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', CASE WHEN p_user IS NULL THEN 'user' ELSE 'body' END),
            'A message has an author and 1 to 500 characters.'
        );
    END IF;
    PERFORM core._check_actor(p_user);
    SELECT s.* INTO v_stream FROM core.streams AS s WHERE s.id = p_stream;
    IF v_stream.id IS NULL THEN
        PERFORM core._raise('TS218', 'STREAM_NOT_FOUND', jsonb_build_object('stream_id', p_stream), 'api.streams lists them.');
    END IF;
    INSERT INTO core.chat_counters AS c (stream_id, user_id, since, used)
    VALUES (p_stream, p_user, date_bin(c_window, clock_timestamp(), '2000-01-01 00:00:00+00'), 1)
    ON CONFLICT ON CONSTRAINT chat_counters_pkey DO UPDATE
    SET
        -- the next minute may have begun while this one waited for the counter
        since = CASE WHEN c.since = excluded.since + c_window THEN c.since ELSE excluded.since END,
        used = CASE WHEN c.since IN (excluded.since, excluded.since + c_window) THEN c.used + 1 ELSE 1 END
    RETURNING c.since, c.used INTO v_since, v_used;
    v_now := clock_timestamp();

    v_stored := core._stored_result(p_user, p_key, v_hash);
    IF v_stored IS NOT NULL THEN
        UPDATE core.chat_counters AS c SET used = v_used - 1 WHERE c.stream_id = p_stream AND c.user_id = p_user;
        message_id := v_stored ->> 'message_id';
        created_at := v_stored ->> 'created_at';
        replayed := true;
        RETURN;
    ELSIF v_stream.status = 'ended' THEN
        PERFORM core._raise(
            'TS328', 'STREAM_ENDED', jsonb_build_object('stream_id', p_stream, 'ended_at', v_stream.ended_at), 'Nothing was posted.'
        );
    END IF;
    PERFORM core._admit(p_stream, p_user);
    IF EXISTS (SELECT FROM core.bans AS b WHERE b.creator_id = v_stream.creator_id AND b.user_id = p_user) THEN
        PERFORM core._raise(
            'TS507', 'BANNED', jsonb_build_object('creator_id', v_stream.creator_id), 'The creator does not want to hear from you.'
        );
    ELSIF v_used > v_limit THEN
        PERFORM core._raise(
            'TS604', 'CHAT_LIMIT',
            jsonb_build_object(
                'stream_id', p_stream, 'maximum', v_limit, 'resets_at', v_since + c_window,
                'retry_after', greatest(1, ceil(extract(EPOCH FROM v_since + c_window - v_now))::integer)
            ),
            'Nothing was posted.'
        );
    END IF;
    INSERT INTO core.messages AS m (stream_id, user_id, body, created_at) VALUES (p_stream, p_user, p_body, v_now)
    RETURNING m.id INTO message_id;
    created_at := v_now;
    replayed := false;
    PERFORM core._store_result(p_user, p_key, v_hash, jsonb_build_object('message_id', message_id, 'created_at', created_at));
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'chat.message', ARRAY['stream:' || p_stream::text],
        jsonb_build_object(
            'message_id', message_id, 'stream_id', p_stream, 'user_id', p_user, 'username', u.username, 'body', p_body,
            'created_at', v_now
        )
    FROM core.users AS u
    WHERE u.id = p_user;
END;
$$;

COMMENT ON FUNCTION api.post_message(uuid, uuid, text, text) IS
'Posts p_body, 1 to 500 characters, to the chat of stream p_stream for user p_user, who may watch it and is not banned by its creator. As many in a minute as the rate chat_messages_minute says. p_key makes it safe to repeat.';
