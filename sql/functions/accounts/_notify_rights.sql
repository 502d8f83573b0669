-- _notify_rights: tell every API process, in the commit that changes them, that a user's rights changed.
-- Locks    the instance-wide notification lock, through the commit; so never on a table that money transactions write
-- Decides  nothing
-- Writes   nothing; NOTIFY tessera_auth with the user's id, from the column that the trigger names
-- Errors   none
CREATE OR REPLACE FUNCTION core._notify_rights()
RETURNS trigger
LANGUAGE plpgsql
VOLATILE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('tessera_auth', to_jsonb(OLD) ->> TG_ARGV[0]);
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._notify_rights() IS
'Trigger: NOTIFY tessera_auth with the id of the user whose status, roles, session or key changed, so that API processes forget the credentials they had verified.';

CREATE OR REPLACE TRIGGER users_notify_rights
AFTER UPDATE ON core.users
FOR EACH ROW
WHEN ((OLD.status, OLD.roles, OLD.token_epoch) IS DISTINCT FROM (NEW.status, NEW.roles, NEW.token_epoch))
EXECUTE FUNCTION core._notify_rights('id');

CREATE OR REPLACE TRIGGER sessions_notify_revoked
AFTER UPDATE OF revoked_at ON core.sessions
FOR EACH ROW
WHEN (OLD.revoked_at IS DISTINCT FROM NEW.revoked_at)
EXECUTE FUNCTION core._notify_rights('user_id');

CREATE OR REPLACE TRIGGER sessions_notify_deleted
AFTER DELETE ON core.sessions
FOR EACH ROW
WHEN (OLD.revoked_at IS NULL AND OLD.expires_at > now())
EXECUTE FUNCTION core._notify_rights('user_id');

CREATE OR REPLACE TRIGGER api_keys_notify_rights
AFTER UPDATE OF key_hash, old_key_hash, old_key_expires_at, scopes, rate_limit_per_minute, expires_at, deleted_at ON core.api_keys
FOR EACH ROW
EXECUTE FUNCTION core._notify_rights('user_id');

CREATE OR REPLACE TRIGGER api_keys_notify_deleted
AFTER DELETE ON core.api_keys
FOR EACH ROW
EXECUTE FUNCTION core._notify_rights('user_id');
