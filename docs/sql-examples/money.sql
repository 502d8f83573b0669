-- Money from psql, as a login in the group tessera_dba. Each line can be tried; the output is in money.out.
-- Everything here is one transaction of the caller's own, and is rolled back at the end.
BEGIN;

-- Two people. A new user gets a wallet of each asset that opens with a user.
SELECT r.user_id AS ada, r.username FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT r.user_id AS ben, r.username FROM api.register_user('ben@example.org', 'ben', 'Ben', NULL) AS r \gset
SELECT b.wallet_id AS ada_wallet FROM api.wallet_balances(:'ada') AS b WHERE b.asset = 'TOKEN' \gset
SELECT b.wallet_id AS ben_wallet FROM api.wallet_balances(:'ben') AS b WHERE b.asset = 'TOKEN' \gset

-- Mint 500 tokens for Ada. The reason goes to the audit log; the key makes it safe to say twice.
SELECT g.new_balance, g.replayed FROM api.grant_tokens(:'ada', 500, 'welcome', 'welcome-ada') AS g;
SELECT g.new_balance, g.replayed FROM api.grant_tokens(:'ada', 500, 'welcome', 'welcome-ada') AS g;

-- Move 120 of them to Ben.
SELECT t.from_balance, t.to_balance, t.replayed
FROM api.transfer(:'ada_wallet', :'ben_wallet', 120, p_key => 'gift-1', p_reference => 'a gift') AS t;

-- A batch: each item has its own outcome, and a refused one (here: too much) stops no other.
SELECT o.ord, o.error_code, o.error, o.detail
FROM api.transfer_batch(ARRAY[
    (:'ada_wallet', :'ben_wallet', NULL, 30, 'TOKEN', 'transfer', 'b-1', 'first', NULL, NULL, NULL),
    (:'ada_wallet', :'ben_wallet', NULL, 9000, 'TOKEN', 'transfer', 'b-2', 'too much', NULL, NULL, NULL),
    (:'ben_wallet', NULL, :'ada', 5, 'TOKEN', 'transfer', 'b-3', 'back, to her wallet of TOKEN', NULL, NULL, NULL)
]::api.transfer_request[]) AS o
ORDER BY o.ord;

-- What they have, and how it came to be.
SELECT b.asset, b.balance, b.held, b.spendable, b.lifetime_earned, b.lifetime_spent, b.status
FROM api.wallet_balances(:'ada') AS b;
SELECT s.seq, s.amount, s.balance, s.kind, s.reference FROM api.statement(:'ada_wallet') AS s ORDER BY s.seq;
SELECT api.balance_at(:'ada_wallet', now() - interval '1 day') AS yesterday,
    api.balance_at(:'ada_wallet', clock_timestamp()) AS now;

-- Tips go to creators. Ben is none, so that is refused: an error has a code, a slug, facts and a hint.
SAVEPOINT before_tip;
SELECT * FROM api.send_tip(:'ada', :'ben', 10, 'tip-1', 'thank you');
\echo :LAST_ERROR_SQLSTATE
ROLLBACK TO SAVEPOINT before_tip;
SELECT o.ord, o.error_code, o.error FROM api.send_tips(ARRAY[
    (:'ada', :'ben', 10, 'tip-2', 'thank you', NULL, NULL)
]::api.tip_request[]) AS o;
SELECT t.count, t.sum FROM api.tip_stats(:'ben') AS t;

-- Nobody writes the tables.
SAVEPOINT before_update;
UPDATE core.wallets SET balance = balance + 1000;
ROLLBACK TO SAVEPOINT before_update;

-- The books. No row: every invariant holds.
SELECT * FROM api.audit_ledger();

ROLLBACK;
