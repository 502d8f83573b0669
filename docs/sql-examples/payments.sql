-- Money in: a package, a payment, what its provider tells, and a dispute of tokens that are spent.
BEGIN;

SELECT r.user_id AS ada FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT r.user_id AS ben FROM api.register_user('ben@example.org', 'ben', 'Ben', NULL) AS r \gset
SELECT b.wallet_id AS ada_wallet FROM api.wallet_balances(:'ada') AS b \gset
SELECT b.wallet_id AS ben_wallet FROM api.wallet_balances(:'ben') AS b \gset

-- 100 tokens and 10 on top for 9 EUR.
SELECT p.package_id AS autumn FROM api.create_token_package('Autumn', 100, 10, 900, 'EUR') AS p \gset
SELECT o.payment_id AS payment, o.tokens, o.amount, o.currency
FROM api.open_payment(:'ada', :'autumn', 'stripe', 'https://shop.example.com/ok', 'https://shop.example.com/no', 'key-1') AS o \gset
SELECT s.checkout_url FROM api.start_payment(:'payment', 'cs_1', 'https://checkout.example.com/cs_1') AS s;

-- An event is kept, then applied: as often as it comes, it pays once.
SELECT api.note_payment_event(
    ROW('stripe', 'evt_1', 'payment_intent.succeeded', 'paid', :'payment', NULL, 900, 'EUR', NULL, 'pi_1', NULL, NULL, '{}')
);
SELECT s.outcome, s.status FROM api.settle_payment('stripe', 'evt_1') AS s;
SELECT s.outcome, s.status FROM api.settle_payment('stripe', 'evt_1') AS s;

-- Ada spends all of it, gets a third of her money back, and disputes the whole payment.
SELECT t.from_balance FROM api.transfer(:'ada_wallet', :'ben_wallet', 110) AS t;
SELECT r.refund_id AS refund FROM api.reverse_payment(:'payment', 300, 'one was enough') AS r \gset
SELECT n.status, n.amount FROM api.note_payment_refund(:'refund', 'done', 're_1') AS n;
SELECT api.note_payment_event(
    ROW('stripe', 'evt_2', 'charge.dispute.created', 'disputed', NULL, NULL, 900, 'EUR', NULL, 'pi_1', 'dp_1', NULL, '{}')
);
SELECT s.outcome, s.status FROM api.settle_payment('stripe', 'evt_2') AS s;
SELECT p.refunded, p.disputed, p.reversed FROM api.payments AS p WHERE p.payment_id = :'payment';
SELECT w.balance, w.debt, w.spendable FROM api.wallets AS w WHERE w.wallet_id = :'ada_wallet';

-- The provider's day against ours: it knows of a payment that nobody here has heard of, and not of the refund.
SELECT api.note_provider_day(
    'stripe', (now() AT TIME ZONE 'UTC')::date,
    '[{"kind": "payment", "record_id": "pi_1", "amount": 900, "currency": "EUR"},
      {"kind": "payment", "record_id": "pi_9", "amount": 500, "currency": "EUR"}]'
);
SELECT r.finding, r.record_id, r.detail FROM api.reconcile('stripe', (now() AT TIME ZONE 'UTC')::date) AS r;
SELECT s.currency, s.gross, s.given_back, s.net, s.tokens_sold, s.tokens_taken_back
FROM api.token_sales(now() - interval '1 hour', now() + interval '1 hour') AS s;

SELECT e.active FROM api.end_token_package(:'autumn') AS e;
SELECT * FROM api.audit_ledger();

ROLLBACK;
