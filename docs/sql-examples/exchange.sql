-- An exchange: a journal moves several assets between several wallets, all or nothing. Each asset sums to zero, because
-- it goes through a liquidity wallet: one leg in each asset.
BEGIN;

SELECT count(*) AS system_wallets FROM api.create_asset('EUR', 4, 'Euro');
SELECT r.user_id AS ada FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT b.wallet_id AS tokens FROM api.wallet_balances(:'ada') AS b \gset
SELECT w.wallet_id AS euros FROM api.open_wallet(:'ada', 'EUR') AS w \gset
SELECT w.wallet_id AS pool_tokens FROM api.open_system_wallet('liquidity', 'TOKEN') AS w \gset
SELECT w.wallet_id AS pool_euros FROM api.open_system_wallet('liquidity', 'EUR') AS w \gset
SELECT w.wallet_id AS mint FROM api.wallets AS w WHERE w.purpose = 'issuance' AND w.asset = 'TOKEN' AND w.shard = 0 \gset
SELECT g.new_balance FROM api.grant_tokens(:'ada', 100000, '10.00 euros', p_asset => 'EUR') AS g;
SELECT t.to_balance FROM api.transfer(:'mint', :'pool_tokens', 1000, p_kind => 'liquidity') AS t;

-- 2.50 euros for 50 tokens. Saying it twice does it once.
SELECT j.leg, j.amount, j.asset, j.from_balance, j.to_balance, j.replayed
FROM api.post_journal(ARRAY[
    (:'euros', :'pool_euros', 25000, 'EUR', 'exchange', '2.50 EUR for 50'),
    (:'pool_tokens', :'tokens', 50, 'TOKEN', 'exchange', '2.50 EUR for 50')
]::api.journal_leg[], p_key => 'exchange-1', p_metadata => '{"rate": "0.05"}') AS j;
SELECT j.leg, j.replayed
FROM api.post_journal(ARRAY[
    (:'euros', :'pool_euros', 25000, 'EUR', 'exchange', '2.50 EUR for 50'),
    (:'pool_tokens', :'tokens', 50, 'TOKEN', 'exchange', '2.50 EUR for 50')
]::api.journal_leg[], p_key => 'exchange-1', p_metadata => '{"rate": "0.05"}') AS j;

-- One leg that cannot be, and none is.
SAVEPOINT before_exchange;
SELECT * FROM api.post_journal(ARRAY[
    (:'euros', :'pool_euros', 25000, 'EUR', 'exchange', 'again'),
    (:'pool_tokens', :'tokens', 5000, 'TOKEN', 'exchange', 'again')
]::api.journal_leg[]);
ROLLBACK TO SAVEPOINT before_exchange;

SELECT b.asset, b.scale, b.balance FROM api.wallet_balances(:'ada') AS b;
SELECT w.asset, sum(w.balance) AS sum FROM api.wallets AS w GROUP BY w.asset ORDER BY w.asset;
SELECT * FROM api.audit_ledger();

ROLLBACK;
