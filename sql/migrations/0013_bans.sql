-- Whom a creator has banned: they may neither write in the creator's chats nor call.

CREATE TABLE core.bans (
    creator_id uuid NOT NULL,
    user_id uuid NOT NULL,
    reason text CHECK (octet_length(reason) BETWEEN 1 AND 255),
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT bans_pkey PRIMARY KEY (creator_id, user_id),
    CONSTRAINT bans_somebody_else CHECK (creator_id <> user_id)
);
COMMENT ON TABLE core.bans IS 'Whom a creator has banned from the chats of their streams and from calling them. Written by api.ban_user and api.unban_user.';

CREATE VIEW api.bans AS
SELECT
    b.creator_id,
    b.user_id,
    b.reason,
    b.created_at
FROM core.bans AS b;
COMMENT ON VIEW api.bans IS 'Whom creators have banned from their chats and from calling them.';

GRANT SELECT, INSERT, DELETE ON core.bans TO tessera_ledger;
GRANT SELECT ON core.bans TO tessera_dba;
