-- Audits that the scheduler ran, so that the newest can be looked up where running one takes longer than a request may.

CREATE TABLE core.audits (
    id uuid PRIMARY KEY DEFAULT core.uuid7(),
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    violations bigint NOT NULL CHECK (violations >= 0),
    found jsonb NOT NULL,
    CONSTRAINT audits_order CHECK (started_at <= finished_at)
);
COMMENT ON TABLE core.audits IS 'Runs of the auditor (api.run_audit), the newest thousand.';
COMMENT ON COLUMN core.audits.found IS 'The first hundred violations, as api.audit_ledger returns them.';

CREATE VIEW api.audits AS
SELECT
    a.id AS audit_id,
    a.started_at,
    a.finished_at,
    a.violations,
    a.found
FROM core.audits AS a;
COMMENT ON VIEW api.audits IS 'Runs of the auditor: when, how many invariants were broken, and the first hundred of them.';

GRANT SELECT, INSERT, DELETE ON core.audits TO tessera_ledger;
GRANT SELECT ON core.audits TO tessera_dba;
GRANT SELECT ON api.audits TO tessera_ledger;
