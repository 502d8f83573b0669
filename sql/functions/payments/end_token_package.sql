-- end_token_package: sell a package no more.
-- Locks    the package
-- Decides  that it is still to end; that p_actor is an administrator
-- Writes   token_packages, audit_log 'package.ended'; nothing where it has ended
-- Errors   TS211 USER_NOT_FOUND, TS250 PACKAGE_NOT_FOUND, TS502 USER_SUSPENDED, TS504 FORBIDDEN
CREATE OR REPLACE FUNCTION api.end_token_package(p_package uuid, p_actor uuid DEFAULT NULL) RETURNS SETOF api.token_packages
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_package core.token_packages;
BEGIN
    PERFORM core._check_admin(p_actor);
    SELECT p.* INTO v_package FROM core.token_packages AS p WHERE p.id = p_package FOR NO KEY UPDATE;
    IF v_package.id IS NULL THEN
        PERFORM core._raise('TS250', 'PACKAGE_NOT_FOUND', jsonb_build_object('package_id', p_package), 'Nothing was changed.');
    ELSIF v_package.active_to IS NULL OR v_package.active_to > clock_timestamp() THEN
        -- one that has not begun is over before it begins
        UPDATE core.token_packages AS p
        SET active_to = greatest(clock_timestamp(), p.active_from + interval '1 microsecond')
        WHERE p.id = p_package;
        INSERT INTO core.audit_log (actor_id, action, subject_id) VALUES (p_actor, 'package.ended', p_package);
    END IF;
    RETURN QUERY SELECT p.* FROM api.token_packages AS p WHERE p.package_id = p_package;
END;
$$;

COMMENT ON FUNCTION api.end_token_package(uuid, uuid) IS
'Ends the sale of package p_package now. Payments that are open may still be paid. Repeating it changes nothing.';
