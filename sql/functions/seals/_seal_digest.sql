-- _seal_digest: what a seal's digest has to be.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._seal_digest(p_seal core.seals) RETURNS bytea
LANGUAGE sql STABLE
AS $$
    SELECT sha256(record_send(ROW(
        p_seal.block, p_seal.from_id, p_seal.to_id, p_seal.transfers, p_seal.wallets, p_seal.acts, p_seal.transfers_digest,
        p_seal.wallets_digest, p_seal.acts_digest, p_seal.sealed_at, p_seal.previous
    )))
$$;

COMMENT ON FUNCTION core._seal_digest(core.seals) IS 'SHA-256 over all columns of a seal but the digest, as record_send writes them.';
