-- _guard_seals: seals are added by their function and never changed, not even by a slip.
-- Locks    nothing
-- Decides  nothing: its triggers fire only for what is refused
-- Writes   nothing
-- Errors   TS901 LEDGER_IMMUTABLE
CREATE OR REPLACE FUNCTION core._guard_seals() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM core._raise(
        'TS901', 'LEDGER_IMMUTABLE',
        jsonb_build_object('table', TG_TABLE_SCHEMA || '.' || TG_TABLE_NAME, 'operation', lower(TG_OP)),
        'api.seal_entries adds seals; nothing takes them away.'
    );
    RETURN NULL;
END;
$$;

COMMENT ON FUNCTION core._guard_seals() IS 'Trigger: refuses changes of seals that do not come from api.seal_entries (TS901).';

CREATE OR REPLACE TRIGGER seals_guard_writes BEFORE INSERT ON core.seals
FOR EACH STATEMENT WHEN (current_user::text <> 'tessera_ledger') EXECUTE FUNCTION core._guard_seals();
CREATE OR REPLACE TRIGGER seals_guard_history BEFORE UPDATE OR DELETE OR TRUNCATE ON core.seals
FOR EACH STATEMENT EXECUTE FUNCTION core._guard_seals();
