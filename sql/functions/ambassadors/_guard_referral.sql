-- _guard_referral: who referred whom never runs in a circle and never changes.
-- Locks    all settings of a referrer, one after another (advisory, until the transaction ends); each user up the chain
--          FOR SHARE, so that a transaction with an older snapshot fails with 40001 instead of not seeing the newest link
-- Decides  not oneself, not twice, no circle
-- Writes   nothing
-- Errors   TS110 SELF_REFERRAL, TS320 REFERRER_SET, TS321 REFERRAL_CIRCLE
CREATE OR REPLACE FUNCTION core._guard_referral() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    v_next uuid := NEW.referred_by_id;
    v_mark uuid;
    v_steps integer := 0;
    v_facts jsonb := jsonb_build_object('user_id', NEW.id, 'referrer_id', NEW.referred_by_id);
BEGIN
    IF NEW.referred_by_id = NEW.id THEN
        PERFORM core._raise('TS110', 'SELF_REFERRAL', v_facts, 'Somebody else must have referred them.');
    ELSIF TG_OP = 'UPDATE' AND OLD.referred_by_id IS NOT NULL THEN
        PERFORM core._raise('TS320', 'REFERRER_SET', v_facts || jsonb_build_object('set', OLD.referred_by_id), 'It is set once.');
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('tessera.referral', 0));
    WHILE v_next IS NOT NULL LOOP
        -- v_mark: a user passed earlier, moved on ever more rarely, so that a circle made by force ends this walk too
        IF v_next = NEW.id OR v_next = v_mark THEN
            PERFORM core._raise('TS321', 'REFERRAL_CIRCLE', v_facts, 'The line of referrers above this user would never end.');
        END IF;
        v_steps := v_steps + 1;
        IF v_steps & (v_steps - 1) = 0 THEN
            v_mark := v_next;
        END IF;
        SELECT u.referred_by_id INTO v_next FROM core.users AS u WHERE u.id = v_next FOR SHARE;
    END LOOP;
    RETURN NEW;
END;
$$;

COMMENT ON FUNCTION core._guard_referral() IS
'Trigger: refuses a referrer that is the user, a second one, or one who was referred by the user, at however many removes.';

CREATE OR REPLACE TRIGGER users_guard_referral BEFORE UPDATE ON core.users
FOR EACH ROW WHEN (new.referred_by_id IS DISTINCT FROM old.referred_by_id) EXECUTE FUNCTION core._guard_referral();
CREATE OR REPLACE TRIGGER users_guard_referral_insert BEFORE INSERT ON core.users
FOR EACH ROW WHEN (new.referred_by_id IS NOT NULL) EXECUTE FUNCTION core._guard_referral();
