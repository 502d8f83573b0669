-- create_webhook_endpoint: a user wants their events sent somewhere.
-- Locks    the user, so that endpoints made at once are counted one after the other
-- Decides  the form of it; that the user may act, and has fewer than the rate webhook_endpoints says
-- Writes   webhook_endpoints, webhook_secrets, webhook_queues, webhook_cursors at the present position of the user's channels
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS347 TOO_MANY_WEBHOOK_ENDPOINTS, TS502 USER_SUSPENDED,
--          TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.create_webhook_endpoint(
    p_user uuid,
    p_url text,
    p_event_types text [] DEFAULT '{*}',
    p_description text DEFAULT ''
) RETURNS TABLE (endpoint_id uuid, secret text)
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_limit CONSTANT bigint := core._rate('webhook_endpoints');
    v_count bigint;
BEGIN
    IF p_user IS NULL OR p_url IS NULL OR p_event_types IS NULL THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST',
            jsonb_build_object('field', CASE WHEN p_user IS NULL THEN 'p_user' WHEN p_url IS NULL THEN 'url' ELSE 'event_types' END),
            'A user, a URL and types of events.'
        );
    END IF;
    PERFORM core._check_webhook(p_url, p_event_types, p_description, NULL);
    PERFORM core._check_actor(p_user);
    PERFORM pg_advisory_xact_lock(hashtextextended('webhook_endpoints ' || p_user::text, 0));
    SELECT count(*) INTO v_count FROM core.webhook_endpoints AS e WHERE e.user_id = p_user AND e.deleted_at IS NULL;
    IF v_count >= v_limit THEN
        PERFORM core._raise('TS347', 'TOO_MANY_WEBHOOK_ENDPOINTS', jsonb_build_object('maximum', v_limit), 'Delete one that is not needed.');
    END IF;
    INSERT INTO core.webhook_endpoints AS e (user_id, url, event_types, description)
    VALUES (p_user, p_url, p_event_types, coalesce(p_description, ''))
    RETURNING e.id INTO endpoint_id;
    INSERT INTO core.webhook_queues (endpoint_id) VALUES (create_webhook_endpoint.endpoint_id);
    INSERT INTO core.webhook_cursors (endpoint_id, channel, epoch, seq)
    SELECT create_webhook_endpoint.endpoint_id, k.kind || p_user::text, p.epoch, p.seq
    FROM unnest(ARRAY['creator:', 'user:']) AS k (kind)
    CROSS JOIN LATERAL api.channel_position(k.kind || p_user::text) AS p;
    secret := core._new_webhook_secret(endpoint_id);
    RETURN NEXT;
END;
$$;

COMMENT ON FUNCTION api.create_webhook_endpoint(uuid, text, text [], text) IS
'Makes an endpoint: from now on the events of the channels user:<id> and creator:<id> of p_user whose type fits p_event_types (*, call.*, tip.sent) are sent to p_url, signed with the secret that is returned here and nowhere else. Not more of them a user than the rate webhook_endpoints says.';
