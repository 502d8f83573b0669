-- update_webhook_endpoint: another URL, other events, on or off.
-- Locks    the endpoint's queue, the endpoint
-- Decides  the form of it
-- Writes   webhook_endpoints, webhook_queues
-- Errors   TS101 INVALID_REQUEST, TS241 WEBHOOK_ENDPOINT_NOT_FOUND
CREATE OR REPLACE FUNCTION api.update_webhook_endpoint(p_endpoint uuid, p_changes jsonb, p_user uuid DEFAULT NULL)
RETURNS SETOF api.webhook_endpoints
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    c_fields CONSTANT text [] := '{url,event_types,description,status}';
    v_endpoint CONSTANT core.webhook_endpoints := core._lock_webhook(p_endpoint, p_user);
    v_new core.webhook_endpoints := v_endpoint;
BEGIN
    IF jsonb_typeof(p_changes) IS DISTINCT FROM 'object' OR p_changes - c_fields <> '{}' OR jsonb_path_exists(p_changes, '$.* ? (@ == null)') THEN
        PERFORM core._raise(
            'TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'p_changes'), 'An object of url, event_types, description, status.'
        );
    END IF;
    IF p_changes ? 'event_types' AND jsonb_typeof(p_changes -> 'event_types') <> 'array' THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'event_types'), 'A list of types of events.');
    END IF;
    v_new.url := coalesce(p_changes ->> 'url', v_endpoint.url);
    v_new.description := coalesce(p_changes ->> 'description', v_endpoint.description);
    v_new.status := coalesce(p_changes ->> 'status', v_endpoint.status);
    IF p_changes ? 'event_types' THEN
        v_new.event_types := ARRAY(SELECT t.pattern FROM jsonb_array_elements_text(p_changes -> 'event_types') AS t (pattern));
    END IF;
    PERFORM core._check_webhook(v_new.url, v_new.event_types, v_new.description, v_new.status);
    UPDATE core.webhook_endpoints AS e
    SET
        url = v_new.url, description = v_new.description, event_types = v_new.event_types, status = v_new.status,
        disabled_at = CASE WHEN v_new.status = 'disabled' THEN coalesce(e.disabled_at, clock_timestamp()) END,
        disabled_reason = CASE WHEN v_new.status = 'disabled' THEN coalesce(e.disabled_reason, 'by_user') END,
        updated_at = clock_timestamp()
    WHERE e.id = p_endpoint;
    IF v_new.status = 'active' AND (v_endpoint.status <> 'active' OR v_new.url <> v_endpoint.url) THEN
        UPDATE core.webhook_queues AS q SET next_at = clock_timestamp(), failures = 0, failing_since = NULL WHERE q.endpoint_id = p_endpoint;
    END IF;
    RETURN QUERY SELECT w.* FROM api.webhook_endpoints AS w WHERE w.endpoint_id = p_endpoint;
END;
$$;

COMMENT ON FUNCTION api.update_webhook_endpoint(uuid, jsonb, uuid) IS
'Changes url, event_types, description or status (active, disabled) of an endpoint of p_user (NULL: of whomever). While it is disabled nothing is sent; once it is active again, what was waiting is, and the events that came meanwhile, as far back as channels are kept. Another URL, or being enabled, makes it forget its failures.';
