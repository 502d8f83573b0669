-- set_referrer: who brought a user here. Once.
-- Locks    all such settings, one after another (advisory, until the transaction ends), before the user, so that two of
--          them never wait in a circle; by trigger (core._guard_referral) the users up the chain FOR SHARE
-- Decides  that both exist; by the trigger: not oneself, not twice, no circle
-- Writes   users (referred_by_id), audit_log 'referrer.set'
-- Errors   TS110 SELF_REFERRAL, TS211 USER_NOT_FOUND, TS320 REFERRER_SET, TS321 REFERRAL_CIRCLE, TS502 USER_SUSPENDED
CREATE OR REPLACE FUNCTION api.set_referrer(p_user uuid, p_referrer uuid, p_actor uuid DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_missing uuid;
    v_before uuid;
BEGIN
    PERFORM core._check_actor(p_actor);
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.referral', 0));
    SELECT n.id INTO v_missing
    FROM (VALUES (1, p_user), (2, p_referrer)) AS n (ord, id)
    WHERE NOT EXISTS (SELECT FROM core.users AS u WHERE u.id = n.id)
    ORDER BY n.ord
    LIMIT 1;
    IF FOUND THEN
        PERFORM core._raise('TS211', 'USER_NOT_FOUND', jsonb_build_object('user_id', v_missing), 'Nothing was set.');
    END IF;
    SELECT u.referred_by_id INTO v_before FROM core.users AS u WHERE u.id = p_user;
    UPDATE core.users AS u SET referred_by_id = p_referrer WHERE u.id = p_user;
    IF v_before IS DISTINCT FROM p_referrer THEN
        INSERT INTO core.audit_log (actor_id, action, subject_id, details)
        VALUES (p_actor, 'referrer.set', p_user, jsonb_build_object('referrer_id', p_referrer));
    END IF;
END;
$$;

COMMENT ON FUNCTION api.set_referrer(uuid, uuid, uuid) IS
'Records that p_referrer brought p_user here; from then on the user''s rewards are matched (api.credit_with_referral). Never oneself, never in a circle, never changed; the same again is no error.';
