-- Holds: money set aside, then captured, released, or expired.
BEGIN;

SELECT r.user_id AS ada FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT r.user_id AS ben FROM api.register_user('ben@example.org', 'ben', 'Ben', NULL) AS r \gset
SELECT b.wallet_id AS ada_wallet FROM api.wallet_balances(:'ada') AS b \gset
SELECT b.wallet_id AS ben_wallet FROM api.wallet_balances(:'ben') AS b \gset
SELECT g.new_balance FROM api.grant_tokens(:'ada', 100, 'welcome') AS g;

-- 60 of 100 are set aside for half an hour; 40 are left to spend.
SELECT h.hold_id AS hold FROM api.place_hold(:'ada_wallet', 60, '30 minutes', 'hold-1', 'ticket', 'seat 12') AS h \gset
SELECT b.balance, b.held, b.spendable FROM api.wallet_balances(:'ada') AS b;

-- A part is paid out, and the same key pays it out once.
SELECT h.status, h.captured, h.remaining, h.replayed FROM api.capture_hold(:'hold', :'ben_wallet', 25, p_key => 'capture-1') AS h;
SELECT h.status, h.captured, h.remaining, h.replayed FROM api.capture_hold(:'hold', :'ben_wallet', 25, p_key => 'capture-1') AS h;

-- More than is left is refused; the rest goes back.
SAVEPOINT before_capture;
SELECT * FROM api.capture_hold(:'hold', :'ben_wallet', 36);
ROLLBACK TO SAVEPOINT before_capture;
SELECT h.status, h.captured, h.balance, h.spendable FROM api.release_hold(:'hold') AS h;

-- What has expired blocks nothing; the scheduler clears it away by this.
SELECT api.expire_holds();
SELECT h.kind, h.reference, h.amount, h.captured, h.released, h.status FROM api.holds AS h;
SELECT * FROM api.audit_ledger();

ROLLBACK;
