-- Assets and wallets: what a DBA opens, freezes and closes. Amounts are in minor units: 10^-scale of the asset.
BEGIN;

-- Dollars with four decimals, so that 5 % of a cent is 5 and not 0. The system wallets come with the asset.
SELECT w.purpose, count(*) AS shards FROM api.create_asset('USD', 4, 'US dollar') AS w GROUP BY w.purpose ORDER BY w.purpose;

SELECT r.user_id AS ada FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT w.wallet_id AS usd, w.asset, w.scale, w.balance FROM api.open_wallet(:'ada', 'USD') AS w \gset
SELECT g.new_balance AS minor_units FROM api.grant_tokens(:'ada', 125000, '12.50 dollars', p_asset => 'USD') AS g;

-- A wallet of the platform's own, for a purpose of its own.
SELECT w.purpose, w.shard, w.minimum FROM api.open_system_wallet('escrow', 'USD', p_shards => 2) AS w;

-- Frozen it still takes money, unless p_mode is all. Every act needs a reason and is written down.
SELECT w.status FROM api.freeze_wallet(:'usd', 'odd logins') AS w;
SELECT w.status FROM api.unfreeze_wallet(:'usd', 'it was she') AS w;
SELECT w.minimum, w.spendable FROM api.set_wallet_minimum(:'usd', -50000, 'an overdraft of 5 dollars') AS w;

-- Only an empty wallet can be closed, and it stays closed.
SAVEPOINT before_close;
SELECT * FROM api.close_wallet(:'usd', 'she left');
ROLLBACK TO SAVEPOINT before_close;

SELECT l.action, l.details FROM api.audit_log AS l WHERE l.subject_id = :'usd' ORDER BY l.audit_id;
SELECT * FROM api.audit_ledger();

ROLLBACK;
