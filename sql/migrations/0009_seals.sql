-- Seals: a chain of digests over what was written, so that a change of history shows, whoever made it (docs/seals.md).

CREATE TABLE core.seals (
    block bigint PRIMARY KEY CHECK (block > 0),
    from_id uuid NOT NULL,
    to_id uuid NOT NULL,
    transfers bigint NOT NULL CHECK (transfers >= 0),
    wallets bigint NOT NULL CHECK (wallets >= 0),
    acts bigint NOT NULL CHECK (acts >= 0),
    transfers_digest bytea NOT NULL CHECK (octet_length(transfers_digest) = 32),
    wallets_digest bytea NOT NULL CHECK (octet_length(wallets_digest) = 32),
    acts_digest bytea NOT NULL CHECK (octet_length(acts_digest) = 32),
    sealed_at timestamptz NOT NULL,
    previous bytea NOT NULL CHECK (octet_length(previous) = 32),
    digest bytea NOT NULL CHECK (octet_length(digest) = 32),
    CONSTRAINT seals_order CHECK (from_id < to_id)
);
COMMENT ON TABLE core.seals IS 'Blocks of history, one after another without a gap. Append-only; written by api.seal_entries only.';
COMMENT ON COLUMN core.seals.from_id IS 'The block holds what has an id from here on (a UUID version 7 begins with its time)…';
COMMENT ON COLUMN core.seals.to_id IS '… up to here, this one not included.';
COMMENT ON COLUMN core.seals.transfers IS 'Transfers of the block, each with its two entries.';
COMMENT ON COLUMN core.seals.wallets IS 'Wallets that were opened: whose they are, of what asset.';
COMMENT ON COLUMN core.seals.acts IS 'Rows of the audit log.';
COMMENT ON COLUMN core.seals.previous IS 'Digest of the block before; 32 zero bytes in the first.';
COMMENT ON COLUMN core.seals.digest IS 'SHA-256 over all other columns, hence over all that was sealed up to here. Keep the newest one elsewhere.';

CREATE TABLE core.seal_marks (
    taken_at timestamptz NOT NULL,
    xid xid8 NOT NULL,
    CONSTRAINT seal_marks_pkey PRIMARY KEY (taken_at, xid)
);
COMMENT ON TABLE core.seal_marks IS 'Moments, and a transaction that got its number after each: what has a higher number began to write after that moment. Tells up to when no open transaction can still add anything.';

CREATE VIEW api.seals AS
SELECT
    s.block,
    s.from_id,
    s.to_id,
    timestamptz '1970-01-01 00:00:00+00'
    + ('x' || translate(left(s.to_id::text, 13), '-', ''))::bit(48)::bigint * interval '1 millisecond' AS up_to,
    s.transfers,
    s.wallets,
    s.acts,
    encode(s.transfers_digest, 'hex') AS transfers_digest,
    encode(s.wallets_digest, 'hex') AS wallets_digest,
    encode(s.acts_digest, 'hex') AS acts_digest,
    s.sealed_at,
    encode(s.previous, 'hex') AS previous,
    encode(s.digest, 'hex') AS digest
FROM core.seals AS s;
COMMENT ON VIEW api.seals IS 'The chain of seals: each block''s range of ids and times (up_to: not included), what it holds, and its digests as hexadecimal numbers.';

-- New wallets are looked for by the time in their ids: the primary key serves.

GRANT SELECT, INSERT ON core.seals TO tessera_ledger;
GRANT SELECT, INSERT, DELETE ON core.seal_marks TO tessera_ledger;
GRANT SELECT ON core.seals, core.seal_marks TO tessera_dba;
GRANT SELECT ON core.audit_log, api.seals TO tessera_ledger;
REVOKE UPDATE, DELETE, TRUNCATE ON core.seals FROM tessera_owner;
