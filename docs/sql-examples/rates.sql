-- Rates, and what they decide: a fee, a limit, a referral's match.
BEGIN;

SELECT n.name, n.unit, n.scoped FROM api.rate_names AS n WHERE n.name IN ('platform_fee', 'referral', 'velocity_count_day') ORDER BY n.name;
SELECT r.name, r.asset, r.value, r.unit FROM api.rates AS r WHERE r.name IN ('platform_fee', 'referral') ORDER BY r.name;

-- From now on, or from a later moment; never the past.
SELECT r.name, r.value, r.unit FROM api.set_rate('platform_fee', 250, 'TOKEN', p_note => '2.5 %') AS r;
SAVEPOINT before_rate;
SELECT * FROM api.set_rate('platform_fee', 0, 'TOKEN', p_valid_from => '2020-01-01');
ROLLBACK TO SAVEPOINT before_rate;

-- Who referred somebody gets 5 % on top of each of their rewards; an ambassador more, which is a rate too.
SELECT r.user_id AS ada FROM api.register_user('ada@example.org', 'ada', 'Ada', NULL) AS r \gset
SELECT r.user_id AS ben FROM api.register_user('ben@example.org', 'ben', 'Ben', NULL) AS r \gset
SELECT api.set_referrer(:'ben', :'ada');
SELECT c.amount, c.new_balance, c.match_amount, c.match_skipped
FROM api.credit_with_referral(:'ben', 119, 'TOKEN', 'clip approved', 'reward-1') AS c;
SELECT r.scope, r.value FROM api.set_rate('referral', 1500, 'TOKEN', 'ambassador') AS r;

-- A limit: at most three payments a day from each user's wallet; and its end.
SELECT r.rate_id AS limit_id FROM api.set_rate('velocity_count_day', 3) AS r \gset
SELECT r.valid_to IS NOT NULL AS ended FROM api.end_rate(:'limit_id') AS r;

SELECT l.action, l.details ->> 'rate' AS rate, l.details ->> 'value' AS value FROM api.audit_log AS l WHERE l.action LIKE 'rate.%' ORDER BY l.audit_id;
SELECT * FROM api.audit_ledger();

ROLLBACK;
