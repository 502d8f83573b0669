-- Tips: what a tip is beyond its transfer. A tip's id is that of its transfer.

CREATE TABLE core.tips (
    id uuid PRIMARY KEY,
    sender_id uuid NOT NULL,
    creator_id uuid NOT NULL,
    amount core.positive_amount NOT NULL,
    platform_fee bigint NOT NULL,
    created_at timestamptz NOT NULL,
    stream_id uuid,
    call_id uuid,
    message text
);
COMMENT ON TABLE core.tips IS 'Tips, written in the commit of their transfer; append-only. No foreign keys, as for transfers: api.audit_ledger() looks for orphans.';
COMMENT ON COLUMN core.tips.id IS 'The id of the transfer to the creator (of the fee, where the fee takes all).';
COMMENT ON COLUMN core.tips.amount IS 'Tokens that the sender paid: platform_fee and the creator''s cut.';
COMMENT ON COLUMN core.tips.platform_fee IS 'floor(amount × rate platform_fee / 10000) tokens, a second transfer of kind fee.';

CREATE INDEX tips_creator_id_idx ON core.tips (creator_id, id);
CREATE INDEX tips_sender_id_idx ON core.tips (sender_id, id);

CREATE TYPE api.tip_request AS (
    sender_id uuid,
    creator_id uuid,
    amount bigint,
    idempotency_key text,
    message text,
    stream_id uuid,
    call_id uuid
);
COMMENT ON TYPE api.tip_request IS 'One tip asked of api.send_tips. amount in tokens; message up to 500 characters; at most one of stream_id and call_id. The key belongs to the sender.';

CREATE TYPE api.tip_outcome AS (
    ord integer,
    tip_id uuid,
    amount bigint,
    creator_cut bigint,
    platform_fee bigint,
    new_balance bigint,
    created_at timestamptz,
    replayed boolean,
    error_code text,
    error text,
    detail jsonb
);
COMMENT ON TYPE api.tip_outcome IS 'What became of the tip at position ord: its id, who got what, and the sender''s balance after it; or error_code (TSnnn), its slug in error, and facts in detail, and nothing written. replayed: the key had done this before.';

CREATE VIEW api.tips AS
SELECT
    t.id AS tip_id,
    t.sender_id,
    t.creator_id,
    t.amount::bigint AS amount,
    t.platform_fee,
    t.amount - t.platform_fee AS creator_cut,
    t.message,
    t.stream_id,
    t.call_id,
    t.created_at
FROM core.tips AS t;
COMMENT ON VIEW api.tips IS 'Tips; amounts in tokens, tip_id is the id of the transfer.';

GRANT SELECT, INSERT ON core.tips TO tessera_ledger;
GRANT SELECT ON core.tips TO tessera_dba;
REVOKE UPDATE, DELETE, TRUNCATE ON core.tips FROM tessera_owner;
