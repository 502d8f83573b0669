-- _wallet_event: the owner of a wallet hears that something about it but its balance is another (held, minimum).
-- Locks    nothing; called when the wallet is locked
-- Decides  nothing; of a system wallet nobody hears
-- Writes   outbox 'wallet.changed'
-- Errors   none
CREATE OR REPLACE FUNCTION core._wallet_event(p_wallet uuid) RETURNS void
LANGUAGE sql VOLATILE
AS $$
    INSERT INTO core.outbox (type, channels, payload)
    SELECT
        'wallet.changed', ARRAY['user:' || w.owner_id::text],
        core._wallet_payload(w.id, w.asset, w.balance, w.held, w.minimum, w.version, 0)
    FROM core.wallets AS w
    WHERE w.id = p_wallet AND w.owner_id IS NOT NULL
$$;

COMMENT ON FUNCTION core._wallet_event(uuid) IS 'Writes the event wallet.changed with the wallet as it is now, its balance unchanged.';
