-- _guard_rates: rates are set and ended by their functions; what was in force is never rewritten, not even by a slip.
-- Locks    nothing
-- Decides  nothing: its triggers fire only for what is refused
-- Writes   nothing
-- Errors   TS901 LEDGER_IMMUTABLE
CREATE OR REPLACE FUNCTION core._guard_rates() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._raise(
        'TS901', 'LEDGER_IMMUTABLE',
        jsonb_build_object('table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', lower(TG_OP)),
        'Use api.set_rate and api.end_rate; rows of the audit log and of adjustments are not for changing.'
    );
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._guard_rates() IS 'Trigger: refuses changes of rates, adjustments and the audit log that do not come from their functions (TS901).';

CREATE OR REPLACE TRIGGER rates_guard_writes BEFORE UPDATE ON core.rates
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_rates();
CREATE OR REPLACE TRIGGER rates_guard_history BEFORE DELETE OR TRUNCATE ON core.rates
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_rates();

CREATE OR REPLACE TRIGGER adjustments_guard_writes BEFORE INSERT OR UPDATE ON core.adjustments
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_rates();
CREATE OR REPLACE TRIGGER adjustments_guard_history BEFORE DELETE OR TRUNCATE ON core.adjustments
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_rates();

CREATE OR REPLACE TRIGGER audit_log_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.audit_log
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_rates();
