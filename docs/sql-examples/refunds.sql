-- Refunds, and an adjustment by hand. A refund is a new transfer that points at the one it undoes.
BEGIN;

SELECT r.user_id AS ada FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT r.user_id AS ben FROM api.register_user('ben@example.org', 'ben', 'Ben', NULL) AS r \gset
SELECT b.wallet_id AS ada_wallet FROM api.wallet_balances(:'ada') AS b \gset
SELECT b.wallet_id AS ben_wallet FROM api.wallet_balances(:'ben') AS b \gset
SELECT g.new_balance FROM api.grant_tokens(:'ada', 100, 'welcome') AS g;
SELECT t.transfer_id AS paid FROM api.transfer(:'ada_wallet', :'ben_wallet', 80) AS t \gset

SELECT r.amount, r.refundable, r.to_balance FROM api.refund_transfer(:'paid', 30, 'refund-1', p_reason => 'half of it') AS r;

-- Never more than the original.
SAVEPOINT before_refund;
SELECT * FROM api.refund_transfer(:'paid', 51);
ROLLBACK TO SAVEPOINT before_refund;

-- Ben has spent 40 of the 50 that are left. What there is; or all of it, and what is missing becomes a debt, which
-- his next credits pay off before he can spend anything.
SELECT t.from_balance FROM api.transfer(:'ben_wallet', :'ada_wallet', 40) AS t;
SELECT r.amount, r.owed, r.refundable FROM api.refund_transfer(:'paid', p_policy => 'within_balance') AS r;
SELECT r.amount, r.owed, r.refundable FROM api.refund_transfer(:'paid', p_policy => 'create_debt') AS r;
SELECT w.balance, w.debt, w.spendable FROM api.wallets AS w WHERE w.wallet_id = :'ben_wallet';
SELECT t.to_balance FROM api.transfer(:'ada_wallet', :'ben_wallet', 45) AS t;
SELECT w.balance, w.debt, w.spendable FROM api.wallets AS w WHERE w.wallet_id = :'ben_wallet';

-- By hand it takes two people: whoever asks cannot approve.
SELECT a.adjustment_id AS asked, a.status FROM api.request_adjustment(:'ada_wallet', :'ben_wallet', 5, 'paid twice') AS a \gset
SAVEPOINT before_approval;
SELECT * FROM api.approve_adjustment(:'asked');
ROLLBACK TO SAVEPOINT before_approval;
SELECT a.status, a.decision_reason FROM api.reject_adjustment(:'asked', 'it was not') AS a;

SELECT * FROM api.audit_ledger();

ROLLBACK;
