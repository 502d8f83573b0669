-- create_token_package: something new to buy.
-- Locks    nothing
-- Decides  the form of it; that p_actor is an administrator
-- Writes   token_packages, audit_log 'package.created'
-- Errors   TS101 INVALID_REQUEST, TS211 USER_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.create_token_package(
    p_name text,
    p_tokens bigint,
    p_bonus bigint,
    p_price bigint,
    p_currency text,
    p_active_from timestamptz DEFAULT NULL,
    p_active_to timestamptz DEFAULT NULL,
    p_actor uuid DEFAULT NULL
) RETURNS SETOF api.token_packages
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_from CONSTANT timestamptz := coalesce(p_active_from, clock_timestamp());
    v_field CONSTANT text := CASE
        WHEN (length(btrim(p_name)) BETWEEN 1 AND 80) IS NOT TRUE THEN 'name'
        WHEN (p_tokens BETWEEN 1 AND 1000000000000) IS NOT TRUE THEN 'tokens'
        WHEN (p_bonus BETWEEN 0 AND 1000000000000) IS NOT TRUE THEN 'bonus'
        WHEN (p_price BETWEEN 1 AND 1000000000000) IS NOT TRUE THEN 'price'
        WHEN (p_currency ~ '^[A-Z]{3}$') IS NOT TRUE THEN 'currency'
        WHEN NOT (p_active_to > v_from) THEN 'active_to'
    END;
    v_id uuid;
BEGIN
    PERFORM core._check_admin(p_actor);
    IF v_field IS NOT NULL THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', v_field), 'Nothing was created.');
    END IF;
    INSERT INTO core.token_packages (name, tokens, bonus, price, currency, active_from, active_to)
    VALUES (btrim(p_name), p_tokens, p_bonus, p_price, p_currency, v_from, p_active_to)
    RETURNING id INTO v_id;
    INSERT INTO core.audit_log (actor_id, action, subject_id, details)
    VALUES (
        p_actor, 'package.created', v_id,
        jsonb_build_object('name', btrim(p_name), 'tokens', p_tokens, 'bonus', p_bonus, 'price', p_price, 'currency', p_currency)
    );
    RETURN QUERY SELECT p.* FROM api.token_packages AS p WHERE p.package_id = v_id;
END;
$$;

COMMENT ON FUNCTION api.create_token_package(text, bigint, bigint, bigint, text, timestamptz, timestamptz, uuid) IS
'Sells p_tokens (and p_bonus on top) for p_price, in the minor unit of p_currency (ISO 4217), from p_active_from (now by default) up to p_active_to (NULL: until api.end_token_package). A package never changes: sell another one and end the first.';
