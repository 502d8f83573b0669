-- _open_wallets: a new user gets a wallet of each asset that opens with a user.
-- Locks    nothing that others can see
-- Decides  nothing
-- Writes   wallets
-- Errors   none
CREATE OR REPLACE FUNCTION core._open_wallets() RETURNS trigger
LANGUAGE plpgsql
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    INSERT INTO core.wallets (owner_id, asset)
    SELECT NEW.id, a.code
    FROM core.assets AS a
    WHERE a.opens_with_user
    ORDER BY a.code;
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._open_wallets() IS 'Trigger: opens the wallets of a new user, one for each asset with opens_with_user.';

CREATE OR REPLACE TRIGGER users_open_wallets AFTER INSERT ON core.users
FOR EACH ROW EXECUTE FUNCTION core._open_wallets();
