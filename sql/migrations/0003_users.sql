-- Users: who owns a wallet. Sessions, keys and settings of accounts are in 0005.

CREATE TABLE core.users (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    email text NOT NULL CHECK (octet_length(email) BETWEEN 3 AND 254),
    username text NOT NULL CHECK (username ~ '^[a-z0-9][a-z0-9_.-]{1,31}$'),
    display_name text NOT NULL CHECK (char_length(display_name) BETWEEN 1 AND 80),
    password_hash text,
    roles text [] NOT NULL DEFAULT '{}'
    CHECK (roles <@ ARRAY['creator', 'validator', 'moderator', 'operator', 'admin']),
    status text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
    token_epoch integer NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE core.users IS 'People. A new row opens a wallet for each asset that opens with a user.';
COMMENT ON COLUMN core.users.email IS 'Lower case, unique.';
COMMENT ON COLUMN core.users.roles IS 'creator, validator, moderator, operator, admin; none for a fan.';
COMMENT ON COLUMN core.users.token_epoch IS 'Raised to make every access token issued so far worthless.';

CREATE UNIQUE INDEX users_email_key ON core.users (lower(email));
CREATE UNIQUE INDEX users_username_key ON core.users (username);

-- Made just now, so there is nobody to block and little to scan.
-- squawk-ignore adding-foreign-key-constraint, constraint-missing-not-valid
ALTER TABLE core.wallets ADD CONSTRAINT wallets_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES core.users (id);

GRANT SELECT ON core.users TO tessera_ledger, tessera_dba;
GRANT SELECT, INSERT, UPDATE ON core.users TO tessera_app;
GRANT SELECT ON core.users TO tessera_scheduler;
