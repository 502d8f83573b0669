-- Accounts: sessions and their refresh tokens, API keys, attempts to log in, creators' settings, the audit log.
-- Users themselves are in 0003. Secrets are stored as hashes only; nothing here can be turned back into a credential.

CREATE TABLE core.sessions (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    user_id uuid NOT NULL REFERENCES core.users (id),
    created_at timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    revoked_at timestamptz,
    revoke_reason text,
    user_agent text CHECK (octet_length(user_agent) <= 512),
    address text CHECK (octet_length(address) <= 64),
    CONSTRAINT sessions_revoked_for_a_reason CHECK ((revoked_at IS NULL) = (revoke_reason IS NULL)),
    CONSTRAINT sessions_revoke_reason
    CHECK (revoke_reason IN ('logout', 'refresh_token_reused', 'suspended', 'password_changed', 'admin'))
);
COMMENT ON TABLE core.sessions IS 'One sign-in: the family of refresh tokens that descend from it, and the sid of its access tokens.';
COMMENT ON COLUMN core.sessions.expires_at IS 'When it ends unless a refresh moves it on.';
COMMENT ON COLUMN core.sessions.revoked_at IS 'From then on no token of the session is worth anything.';

CREATE INDEX sessions_user_id_idx ON core.sessions (user_id);
CREATE INDEX sessions_expires_at_idx ON core.sessions (expires_at);

CREATE TABLE core.refresh_tokens (
    token_hash bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
    session_id uuid NOT NULL REFERENCES core.sessions (id) ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at timestamptz,
    successor_hash bytea CHECK (octet_length(successor_hash) = 32),
    CONSTRAINT refresh_tokens_used_has_successor CHECK ((used_at IS NULL) = (successor_hash IS NULL))
);
COMMENT ON TABLE core.refresh_tokens IS 'Each is good for one refresh. Used again later than a lost answer explains, its session is revoked.';
COMMENT ON COLUMN core.refresh_tokens.token_hash IS 'SHA-256 of the token.';
COMMENT ON COLUMN core.refresh_tokens.successor_hash IS 'SHA-256 of the token that its use gave out.';

CREATE INDEX refresh_tokens_session_id_idx ON core.refresh_tokens (session_id);

CREATE TABLE core.api_keys (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    user_id uuid NOT NULL REFERENCES core.users (id),
    name text NOT NULL CHECK (char_length(name) BETWEEN 1 AND 80),
    prefix text NOT NULL CHECK (octet_length(prefix) = 12),
    key_hash bytea NOT NULL CHECK (octet_length(key_hash) = 32),
    old_key_hash bytea CHECK (octet_length(old_key_hash) = 32),
    old_key_expires_at timestamptz,
    scopes text [] NOT NULL,
    rate_limit_per_minute integer CHECK (rate_limit_per_minute BETWEEN 1 AND 1000000),
    created_at timestamptz NOT NULL DEFAULT now(),
    rotated_at timestamptz,
    expires_at timestamptz,
    last_used_at timestamptz,
    deleted_at timestamptz,
    CONSTRAINT api_keys_old_key_expires CHECK ((old_key_hash IS NULL) = (old_key_expires_at IS NULL))
);
COMMENT ON TABLE core.api_keys IS 'Keys for programs. The key itself is shown once, when it is made.';
COMMENT ON COLUMN core.api_keys.prefix IS 'First characters of the key, to recognise it by.';
COMMENT ON COLUMN core.api_keys.key_hash IS 'SHA-256 of the key.';
COMMENT ON COLUMN core.api_keys.old_key_hash IS 'SHA-256 of the key before the last rotation, good until old_key_expires_at.';
COMMENT ON COLUMN core.api_keys.scopes IS 'What the key may do, as far as its user may.';
COMMENT ON COLUMN core.api_keys.rate_limit_per_minute IS 'Requests a minute; NULL for the limit of everybody.';
COMMENT ON COLUMN core.api_keys.last_used_at IS 'Written down about once a minute, not on each request.';

CREATE UNIQUE INDEX api_keys_key_hash_key ON core.api_keys (key_hash);
CREATE UNIQUE INDEX api_keys_old_key_hash_key ON core.api_keys (old_key_hash) WHERE old_key_hash IS NOT NULL;
CREATE INDEX api_keys_user_id_idx ON core.api_keys (user_id);

CREATE TABLE core.login_attempts (
    account_hash bytea NOT NULL CHECK (octet_length(account_hash) = 32),
    address text NOT NULL CHECK (octet_length(address) <= 64),
    attempts integer NOT NULL CHECK (attempts > 0),
    since timestamptz NOT NULL,
    CONSTRAINT login_attempts_pkey PRIMARY KEY (account_hash, address)
);
COMMENT ON TABLE core.login_attempts IS 'Attempts to log in that have not succeeded, per account and address, so that guessing elsewhere cannot lock the owner out.';
COMMENT ON COLUMN core.login_attempts.account_hash IS 'SHA-256 of the email address, whether an account has it or not.';
COMMENT ON COLUMN core.login_attempts.address IS 'IPv4 address, or /64 of an IPv6 address.';
COMMENT ON COLUMN core.login_attempts.since IS 'Start of the window in which attempts are counted.';

CREATE INDEX login_attempts_since_idx ON core.login_attempts (since);

CREATE TABLE core.creator_settings (
    user_id uuid PRIMARY KEY REFERENCES core.users (id),
    rate_per_minute bigint NOT NULL CHECK (rate_per_minute BETWEEN 1 AND 1000000000),
    ticket_price bigint CHECK (ticket_price BETWEEN 1 AND 1000000000),
    bio text NOT NULL DEFAULT '' CHECK (char_length(bio) <= 1000),
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE core.creator_settings IS 'What a creator asks for. Clients never supply a price.';
COMMENT ON COLUMN core.creator_settings.rate_per_minute IS 'Price of a minute of a call, in tokens.';
COMMENT ON COLUMN core.creator_settings.ticket_price IS 'Price of a ticket to a stream, in tokens, unless the stream says otherwise; NULL for none.';

CREATE TABLE core.audit_log (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    created_at timestamptz NOT NULL DEFAULT now(),
    actor_id uuid,
    db_user text NOT NULL DEFAULT session_user,
    action text NOT NULL CHECK (action ~ '^[a-z_]+(\.[a-z_]+)+$'),
    subject_id uuid,
    details jsonb NOT NULL DEFAULT '{}',
    request_id text CHECK (octet_length(request_id) <= 128),
    address text CHECK (octet_length(address) <= 64)
);
COMMENT ON TABLE core.audit_log IS 'Who did what to whom, where it matters afterwards: rights, keys, suspensions, money made by hand. Append-only.';
COMMENT ON COLUMN core.audit_log.actor_id IS 'The user who did it; NULL when a database user did.';
COMMENT ON COLUMN core.audit_log.subject_id IS 'What it was done to: a user, a key, a wallet.';

CREATE INDEX audit_log_subject_id_idx ON core.audit_log (subject_id, id);
CREATE INDEX audit_log_actor_id_idx ON core.audit_log (actor_id, id);

-- Privileges

GRANT SELECT, INSERT, UPDATE, DELETE
ON core.sessions, core.refresh_tokens, core.api_keys, core.login_attempts, core.creator_settings TO tessera_app;
GRANT SELECT, DELETE ON core.sessions, core.refresh_tokens, core.login_attempts TO tessera_scheduler;
GRANT SELECT ON core.sessions, core.refresh_tokens, core.api_keys, core.login_attempts, core.creator_settings TO tessera_dba;
GRANT SELECT ON core.creator_settings TO tessera_ledger, tessera_scheduler;
GRANT SELECT, INSERT ON core.audit_log TO tessera_app, tessera_scheduler, tessera_ledger;
GRANT SELECT ON core.audit_log TO tessera_dba;
REVOKE UPDATE, DELETE, TRUNCATE ON core.audit_log FROM tessera_owner;
GRANT INSERT ON core.users TO tessera_ledger;
