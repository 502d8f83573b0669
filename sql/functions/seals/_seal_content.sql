-- _seal_content: how much there is between two ids, and its digests.
-- Locks    nothing
-- Decides  nothing. record_send writes text in the client's encoding, so that is UTF-8 here, whoever asks
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._seal_content(
    p_from uuid,
    p_to uuid,
    OUT transfers bigint,
    OUT wallets bigint,
    OUT acts bigint,
    OUT transfers_digest bytea,
    OUT wallets_digest bytea,
    OUT acts_digest bytea
)
LANGUAGE plpgsql STABLE
SET client_encoding = 'UTF8'
AS $$
BEGIN
    SELECT count(*), sha256(coalesce(string_agg(record_send(r), ''::bytea ORDER BY r.id), ''))
    INTO transfers, transfers_digest
    FROM core._transfer_rows(p_from, p_to) AS r;
    SELECT count(*), sha256(coalesce(string_agg(record_send(r), ''::bytea ORDER BY r.id), ''))
    INTO wallets, wallets_digest
    FROM core._wallet_rows(p_from, p_to) AS r;
    SELECT count(*), sha256(coalesce(string_agg(record_send(r), ''::bytea ORDER BY r.id), ''))
    INTO acts, acts_digest
    FROM core._act_rows(p_from, p_to) AS r;
END;
$$;

COMMENT ON FUNCTION core._seal_content(uuid, uuid) IS 'Number and SHA-256 of the transfers, wallets and acts with ids from p_from up to p_to: of their rows in the order of id, each as record_send writes it.';
