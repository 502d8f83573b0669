-- _guard_ledger: the ledger is written by its functions and by nobody else, not even by a superuser's slip. Partitions have
-- a guard of their own (core._guard_partition, migration 0008): these triggers fire for the table that a statement names.
-- Locks    nothing
-- Decides  nothing: its triggers fire only for what is refused. Their conditions are parsed for each statement, and a
--          constant of type name is 64 numbers to read: hence ::text
-- Writes   nothing
-- Errors   TS901 LEDGER_IMMUTABLE
CREATE OR REPLACE FUNCTION core._guard_ledger() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._raise(
        'TS901', 'LEDGER_IMMUTABLE',
        jsonb_build_object('table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', lower(TG_OP)),
        coalesce(TG_ARGV[0], 'Use the functions of schema api; a mistake is put right by a transfer the other way.')
    );
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._guard_ledger() IS
'Trigger: refuses each change of ledger tables that does not come from the ledger''s own functions, and each change of its history (TS901).';

CREATE OR REPLACE TRIGGER wallets_guard_writes BEFORE INSERT OR UPDATE ON core.wallets
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER wallets_guard_history BEFORE DELETE OR TRUNCATE ON core.wallets
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER transfers_guard_writes BEFORE INSERT ON core.transfers
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER transfers_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.transfers
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER entries_guard_writes BEFORE INSERT ON core.entries
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER entries_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.entries
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER idempotency_keys_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.idempotency_keys
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER tips_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.tips
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER holds_guard_writes BEFORE INSERT OR UPDATE ON core.holds
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER holds_guard_history BEFORE DELETE OR TRUNCATE ON core.holds
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER captures_guard_writes BEFORE INSERT ON core.captures
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER captures_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.captures
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER refunds_guard_writes BEFORE INSERT ON core.refunds
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER refunds_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.refunds
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER tickets_guard_writes BEFORE INSERT OR UPDATE ON core.tickets
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER tickets_guard_history BEFORE DELETE OR TRUNCATE ON core.tickets
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER meter_blocks_guard_writes BEFORE INSERT OR UPDATE ON core.meter_blocks
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER meter_blocks_guard_history BEFORE DELETE OR TRUNCATE ON core.meter_blocks
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER rates_guard_writes BEFORE UPDATE ON core.rates
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger(
    'Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.'
);
CREATE OR REPLACE TRIGGER rates_guard_history BEFORE DELETE OR TRUNCATE ON core.rates
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger(
    'Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.'
);

CREATE OR REPLACE TRIGGER adjustments_guard_writes BEFORE INSERT OR UPDATE ON core.adjustments
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger(
    'Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.'
);
CREATE OR REPLACE TRIGGER adjustments_guard_history BEFORE DELETE OR TRUNCATE ON core.adjustments
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger(
    'Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.'
);

CREATE OR REPLACE TRIGGER audit_log_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.audit_log
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger(
    'Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.'
);

CREATE OR REPLACE TRIGGER seals_guard_writes BEFORE INSERT ON core.seals
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger(
    'api.seal_entries adds seals; nothing takes them away.'
);
CREATE OR REPLACE TRIGGER seals_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.seals
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger(
    'api.seal_entries adds seals; nothing takes them away.'
);

CREATE OR REPLACE TRIGGER payments_guard_writes BEFORE INSERT OR UPDATE ON core.payments
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER payments_guard_history BEFORE DELETE OR TRUNCATE ON core.payments
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER payment_transfers_guard_writes BEFORE INSERT ON core.payment_transfers
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER payment_transfers_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.payment_transfers
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER payment_events_guard_writes BEFORE INSERT OR UPDATE ON core.payment_events
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER payment_events_guard_history BEFORE DELETE OR TRUNCATE ON core.payment_events
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER payouts_guard_writes BEFORE INSERT OR UPDATE ON core.payouts
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER payouts_guard_history BEFORE DELETE OR TRUNCATE ON core.payouts
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();

CREATE OR REPLACE TRIGGER payout_accounts_guard_writes BEFORE INSERT OR UPDATE ON core.payout_accounts
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_ledger();
CREATE OR REPLACE TRIGGER payout_accounts_guard_history BEFORE DELETE OR TRUNCATE ON core.payout_accounts
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_ledger();
