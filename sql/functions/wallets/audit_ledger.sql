-- audit_ledger: every invariant of the books, checked on one snapshot.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION api.audit_ledger() RETURNS TABLE (rule text, subject text, detail jsonb)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT w.rule, w.subject, w.detail FROM core._audit_wallets() AS w
    UNION ALL
    SELECT e.rule, e.subject, e.detail FROM core._audit_entries() AS e
    UNION ALL
    SELECT h.rule, h.subject, h.detail FROM core._audit_holds() AS h
    UNION ALL
    SELECT r.rule, r.subject, r.detail FROM core._audit_refunds() AS r
    UNION ALL
    SELECT a.rule, a.subject, a.detail FROM core._audit_adjustments() AS a
    UNION ALL
    SELECT t.rule, t.subject, t.detail FROM core._audit_tips() AS t
    UNION ALL
    SELECT k.rule, k.subject, k.detail FROM core._audit_tickets() AS k
    UNION ALL
    SELECT c.rule, c.subject, c.detail FROM core._audit_calls() AS c
    UNION ALL
    SELECT p.rule, p.subject, p.detail FROM core._audit_payments() AS p
    UNION ALL
    SELECT p.rule, p.subject, p.detail FROM core._audit_payouts() AS p
$$;

COMMENT ON FUNCTION api.audit_ledger() IS
'Checks the books and returns a row for each broken invariant: the rule, what broke it (wallet, transfer, entry, tip…), and the numbers. No rows: the books balance. Reads one snapshot, locks nothing, may run beside anything.';
