-- History: statements, balances at any entry and moment, and reconciling with a provider's file.
BEGIN;

SELECT r.user_id AS ada FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT b.wallet_id AS wallet FROM api.wallet_balances(:'ada') AS b \gset
SELECT w.wallet_id AS clearing FROM api.wallets AS w WHERE w.purpose = 'payout_clearing' AND w.asset = 'TOKEN' \gset
SELECT g.new_balance FROM api.grant_tokens(:'ada', 1000, 'welcome') AS g;

-- Three payouts, as the provider will list them by reference; the last happened yesterday and is written down today.
SELECT t.from_balance FROM api.transfer(:'wallet', :'clearing', 100, p_kind => 'withdrawal', p_reference => 'po_1') AS t;
SELECT t.from_balance FROM api.transfer(:'wallet', :'clearing', 250, p_kind => 'withdrawal', p_reference => 'po_2') AS t;
SELECT t.from_balance
FROM api.transfer(:'wallet', :'clearing', 50, p_kind => 'withdrawal', p_reference => 'po_3', p_event_at => now() - interval '1 day') AS t;

SELECT s.seq, s.amount, s.balance, s.kind, s.reference FROM api.statement(:'wallet') AS s ORDER BY s.seq;
SELECT * FROM api.statement_summary(:'wallet', '-infinity', 'infinity');
SELECT api.balance_at_seq(:'wallet', 2) AS after_the_second;
SELECT t.reference, t.event_at < t.created_at AS backdated FROM api.transfers AS t WHERE t.kind = 'withdrawal' ORDER BY t.reference;

-- The provider's file (here typed in; \copy brings it from CSV): what differs, on either side.
CREATE TEMPORARY TABLE provider_file (reference text PRIMARY KEY, amount bigint);
INSERT INTO provider_file VALUES ('po_1', 100), ('po_2', 205), ('po_4', 70);
SELECT coalesce(t.reference, p.reference) AS reference, t.amount AS ours, p.amount AS theirs
FROM (SELECT x.reference, x.amount FROM api.transfers AS x WHERE x.kind = 'withdrawal') AS t
FULL JOIN provider_file AS p ON p.reference = t.reference
WHERE t.amount IS DISTINCT FROM p.amount
ORDER BY 1;

SELECT * FROM api.audit_ledger();

ROLLBACK;
