-- Who may call each function, who owns it, and with whose rights it runs. A function without a row here fails the test.
BEGIN;
SET LOCAL search_path = tap, pg_catalog;
SELECT no_plan();

-- The contract: the services and people call them, and they run with the rights of tessera_ledger.
CREATE TEMP TABLE contract (signature) ON COMMIT DROP AS VALUES
('api.accept_call(uuid,uuid)'),
('api.ban_user(uuid,uuid,text)'),
('api.beat_calls(api.call_beat[])'),
('api.call_stats(uuid,text,timestamp with time zone,timestamp with time zone)'),
('api.decline_call(uuid,uuid)'),
('api.end_call(uuid,uuid)'),
('api.meter_call_block(uuid)'),
('api.meter_due_calls(integer)'),
('api.meter_lag()'),
('api.open_call(uuid,uuid,text)'),
('api.pause_call(uuid,uuid)'),
('api.resume_call(uuid,uuid)'),
('api.unban_user(uuid,uuid)'),
('api.enter_room(text,uuid,uuid)'),
('api.note_live_event(text,text,text,text,timestamp with time zone)'),
('api.claim_payment_refunds(integer)'),
('api.claim_payments(integer)'),
('api.create_token_package(text,bigint,bigint,bigint,text,timestamp with time zone,timestamp with time zone,uuid)'),
('api.due_payment_events(integer)'),
('api.end_token_package(uuid,uuid)'),
('api.note_payment_event(api.payment_fact)'),
('api.note_payment_refund(uuid,text,text,text)'),
('api.note_provider_day(text,date,jsonb)'),
('api.open_payment(uuid,uuid,text,text,text,text)'),
('api.reconcile(text,date)'),
('api.resolve_payment_event(text,text,text,uuid)'),
('api.reverse_payment(uuid,bigint,text,text,uuid)'),
('api.settle_payment(text,text)'),
('api.start_payment(uuid,text,text,text)'),
('api.token_sales(timestamp with time zone,timestamp with time zone)'),
('api.add_payout_account(uuid,uuid,text,text,text,text,bytea)'),
('api.approve_payout(uuid,uuid)'),
('api.cancel_payout(uuid,uuid)'),
('api.claim_payout(interval)'),
('api.earnings_statement(uuid,integer)'),
('api.fail_payout(uuid,text,text,uuid)'),
('api.hold_payout(uuid,text,uuid)'),
('api.note_payout(uuid,uuid,text,interval,text,bigint,text,text)'),
('api.payout_balance(uuid)'),
('api.payout_lag()'),
('api.reconcile_payouts(text,date,api.payout_record[])'),
('api.reencrypt_payout_account(uuid,text,text,bytea)'),
('api.remove_payout_account(uuid,uuid)'),
('api.repeat_payout(uuid,bigint,uuid,text)'),
('api.request_payout(uuid,bigint,uuid,text)'),
('api.settle_payout(uuid,text,uuid)'),
('api.approve_adjustment(uuid,uuid)'),
('api.audit_ledger()'),
('api.balance_at(uuid,timestamp with time zone)'),
('api.balance_at_seq(uuid,bigint)'),
('api.buy_ticket(uuid,uuid,text)'),
('api.buy_tickets(api.ticket_request[])'),
('api.cancel_no_shows(integer)'),
('api.cancel_stream(uuid,text,uuid)'),
('api.capture_hold(uuid,uuid,bigint,boolean,text,text,uuid,jsonb)'),
('api.close_wallet(uuid,text,uuid)'),
('api.count_viewers(integer)'),
('api.create_asset(text,integer,text,boolean,uuid)'),
('api.channel_position(text)'),
('api.create_stream(uuid,text,text,text,bigint,integer,timestamp with time zone,timestamp with time zone,'
    'timestamp with time zone)'),
('api.credit_with_referral(uuid,bigint,text,text,text,uuid)'),
('api.end_rate(uuid,timestamp with time zone,uuid)'),
('api.end_stream(uuid,uuid)'),
('api.expire_holds(integer)'),
('api.freeze_wallet(uuid,text,text,uuid)'),
('api.grant_tokens(uuid,bigint,text,text,uuid,text)'),
('api.hold_lag()'),
('api.keep_channel_events()'),
('api.make_partitions(interval)'),
('api.open_system_wallet(text,text,bigint,integer,uuid)'),
('api.open_wallet(uuid,text)'),
('api.partitions()'),
('api.place_hold(uuid,bigint,interval,text,text,text,uuid,jsonb)'),
('api.post_journal(api.journal_leg[],text,uuid,jsonb,timestamp with time zone)'),
('api.post_message(uuid,uuid,text,text)'),
('api.read_channel(text,uuid,bigint,integer)'),
('api.refund_transfer(uuid,bigint,text,text,text,uuid)'),
('api.register_user(text,text,text,text)'),
('api.reject_adjustment(uuid,text,uuid)'),
('api.relay_events(integer,boolean,interval,text[])'),
('api.relay_lag()'),
('api.follow_channels(api.follow_request[],boolean)'),
('api.leave_streams(api.watch_beat[])'),
('api.read_channels(text[],bigint[],integer)'),
('api.stream_audience(uuid[],integer)'),
('api.release_hold(uuid,text,uuid)'),
('api.remove_message(uuid,uuid,uuid)'),
('api.request_adjustment(uuid,uuid,bigint,text,text,uuid)'),
('api.run_audit()'),
('api.seal_entries(integer,interval)'),
('api.seal_lag()'),
('api.send_tip(uuid,uuid,bigint,text,text,uuid,uuid)'),
('api.send_tips(api.tip_request[])'),
('api.set_rate(text,numeric,text,text,timestamp with time zone,timestamp with time zone,text,uuid)'),
('api.set_referrer(uuid,uuid,uuid)'),
('api.set_wallet_minimum(uuid,bigint,text,uuid)'),
('api.start_stream(uuid,uuid)'),
('api.statement(uuid,timestamp with time zone,timestamp with time zone,bigint,integer,text)'),
('api.statement_summary(uuid,timestamp with time zone,timestamp with time zone)'),
('api.stream_access(uuid,uuid)'),
('api.stream_messages(uuid,uuid,uuid,integer)'),
('api.tip_stats(uuid,timestamp with time zone)'),
('api.transfer(uuid,uuid,bigint,text,text,text,text,uuid,jsonb,timestamp with time zone)'),
('api.transfer_batch(api.transfer_request[])'),
('api.unfreeze_wallet(uuid,text,uuid)'),
('api.update_stream(uuid,jsonb,uuid)'),
('api.verify_seals(bigint,bigint)'),
('api.wallet_balances(uuid)'),
('api.watch_streams(api.watch_beat[])'),
('api.create_webhook_endpoint(uuid,text,text[],text)'),
('api.delete_webhook_endpoint(uuid,uuid)'),
('api.fan_webhooks(uuid,integer,integer)'),
('api.finish_webhook(uuid,integer,integer,text,integer,text,integer)'),
('api.prune_webhooks(integer)'),
('api.replay_webhook_delivery(uuid,uuid)'),
('api.rotate_webhook_secret(uuid,uuid)'),
('api.test_webhook_endpoint(uuid,uuid)'),
('api.update_webhook_endpoint(uuid,jsonb,uuid)'),
('api.webhook_lag()');

-- For the scheduler alone: it shows secrets.
CREATE TEMP TABLE schedulers (signature) ON COMMIT DROP AS VALUES
('api.lease_webhooks(integer,interval)');

-- For people, and not for the services.
CREATE TEMP TABLE people (signature) ON COMMIT DROP AS VALUES
('api.attach_month(text)'),
('api.detach_month(text)'),
('api.sealed_rows(bigint)');

-- Internal: nobody calls them but functions and triggers, with the rights of those, or (true) of tessera_ledger.
CREATE TEMP TABLE internal (signature, definer) ON COMMIT DROP AS VALUES
('core._access_reason(uuid,uuid)', false),
('core._adjustment_event(text,uuid)', false),
('core._check_seat_in_call(uuid,uuid)', false),
('core._hold_payload(core.holds)', false),
('core._seat_in_stream(uuid,uuid)', false),
('core._active_us(core.call_clocks,bigint,timestamp with time zone)', false),
('core._alive_until(core.call_clocks)', false),
('core._audit_payments()', false),
('core._credit_payment(core.payments,core.payment_events)', false),
('core._fail_payment(core.payments,core.payment_events)', false),
('core._give_tokens(core.payments,bigint,text)', false),
('core._lock_payment_of(core.payment_events)', false),
('core._note_dispute(core.payments,core.payment_events)', false),
('core._note_refund(core.payments,core.payment_events)', false),
('core._payment_event(text,uuid)', false),
('core._payment_order(core.payments,boolean)', false),
('core._refund_order(uuid,boolean)', false),
('core._weigh_payment(uuid,text,uuid)', false),
('core._must_be_called(core.calls,uuid)', false),
('core._must_not_be_over(core.calls)', false),
('core._refuse_stream(text,text)', false),
('core._audit_calls()', false),
('core._call_cases(uuid[],timestamp with time zone,boolean,integer,interval,numeric)', false),
('core._call_event(text,uuid[])', false),
('core._close_calls(core.call_ending[])', false),
('core._give_back(uuid[],text,uuid,bigint[],text)', false),
('core._lock_call(uuid,uuid)', false),
('core._meter_calls(uuid[],timestamp with time zone,boolean)', false),
('core._must_be_accepted(core.calls)', false),
('core._note_call_presence(uuid,uuid,text,timestamp with time zone)', false),
('core._return_blocks(core.call_case[])', false),
('core._settle_call(core.calls,timestamp with time zone,uuid)', false),
('core._act_rows(uuid,uuid)', false),
('core._admit(uuid,uuid)', false),
('core._audit_adjustments()', false),
('core._audit_entries()', false),
('core._audit_holds()', false),
('core._audit_refunds()', false),
('core._audit_tickets()', false),
('core._audit_tips()', false),
('core._audit_wallets()', false),
('core._cancel_stream(uuid,text,uuid)', false),
('core._audit_payouts()', false),
('core._check_operator(uuid,uuid)', false),
('core._check_payout_by_hand(core.payouts,uuid)', false),
('core._free_payout(core.payouts)', false),
('core._lock_payout(uuid,uuid)', false),
('core._payout_event(text,core.payouts)', false),
('core._payout_review(core.payout_accounts,bigint)', false),
('core._pending_earnings(uuid,text)', false),
('core._place_hold(uuid,bigint,interval,text,text,text,uuid,jsonb,boolean)', false),
('core._refuse_payout(core.payouts,text)', false),
('core._share_payout_account(uuid,uuid)', false),
('core._take_payout(core.payouts,core.payout_accounts)', false),
('core._check_actor(uuid)', false),
('core._check_webhook(text,text[],text,text)', false),
('core._disable_webhook(uuid,text)', false),
('core._lock_webhook(uuid,uuid)', false),
('core._new_webhook_secret(uuid)', false),
('core._webhook_wait(integer)', false),
('core._webhook_wants(text[],text)', false),
('core._check_admin(uuid)', false),
('core._check_reason(text)', false),
('core._check_tip(api.tip_request,text,boolean)', false),
('core._check_transfer(text,text,jsonb,text,uuid,text,timestamp with time zone,boolean)', false),
('core._count_velocity(uuid[],uuid[],core.velocity_rules,bigint[],timestamp with time zone)', false),
('core._database_actor()', false),
('core._entry_at(uuid,timestamp with time zone)', false),
('core._expire_holds(uuid[])', false),
(
    'core._explain_refusal(core.transfer_request[],integer,integer,core.locked_wallets,integer[],'
    'bigint[],boolean)', false
),
('core._fill_replays(core.transfer_result[],uuid[])', false),
('core._find_twins(core.transfer_request[],core.refusal[],uuid)', false),
('core._guard_ledger()', false),
('core._guard_referral()', true),
('core._hold_receipt(core.holds,core.wallets,uuid)', false),
('core._hold_refusal(core.holds,uuid,bigint,bigint)', false),
('core._in_month(uuid[],timestamp with time zone)', false),
('core._is_detached(uuid)', false),
('core._journal_entries(core.transfer_request[],core.transfer_result[])', false),
('core._kept_ticket(integer,uuid)', false),
('core._key_reused(text)', false),
('core._lock_buyers(core.ticket_case[])', false),
('core._lock_streams(uuid[])', false),
('core._lock_ticket_wallets(uuid[])', false),
('core._lock_wallets(uuid[])', false),
('core._microseconds(timestamp with time zone)', false),
('core._month_bounds(timestamp with time zone,timestamp with time zone)', false),
('core._months_moved(text,text,text[])', false),
('core._note_viewer(uuid,uuid,boolean,timestamp with time zone)', false),
('core._notify_rights()', false),
('core._open_adjustment(uuid)', false),
('core._open_wallets()', true),
('core._open_stream(uuid,uuid)', false),
('core._place_wallets(core.transfer_request[],uuid[])', false),
('core._post_one(core.transfer_request,core.refusal,boolean)', false),
('core._post_transfers(core.transfer_request[],core.refusal[],boolean,boolean)', false),
('core._raise(text,text,jsonb,text)', false),
('core._rate(text,text,timestamp with time zone,text)', false),
('core._request_hash(text,bytea)', false),
('core._seal_content(uuid,uuid)', false),
('core._seal_digest(core.seals)', false),
('core._sell_tickets(core.ticket_case[],core.ticket_case[])', false),
('core._set_wallet(uuid,text,text,bigint,text,uuid)', false),
('core._store_result(uuid,text,bytea,jsonb)', false),
('core._stored_result(uuid,text,bytea)', false),
('core._stream_event(text,uuid)', false),
(
    'core._stream_fault(text,text,bigint,integer,timestamp with time zone,timestamp with time zone,'
    'timestamp with time zone)', false
),
('core._system_wallet(text,text,uuid)', false),
('core._take_room(bigint[],core.velocity_rules,integer,core.transfer_request,integer)', false),
('core._tell_of_job()', true),
('core._ticket_cases(api.ticket_request[],integer[],numeric,uuid[])', false),
('core._tip_call_refusal(uuid,uuid,uuid)', false),
('core._cut_chunks(core.relay_state,integer)', false),
('core._follow_refusal(uuid,text)', false),
('core._event_text(text,timestamp with time zone,jsonb)', false),
('core._first_unrelayed(pg_snapshot,bigint)', false),
('core._is_backlog(core.relay_state,integer)', false),
('core._oldest_needed()', false),
('core._snapshot_of_others()', false),
('core._tip_fee(uuid)', false),
('core._tip_stream_refusal(uuid,uuid)', false),
('core._transfer_payload(uuid,uuid,uuid,bigint,text,text,text,timestamp with time zone)', false),
('core._transfer_rows(uuid,uuid)', false),
('core._user_channels(uuid,uuid)', false),
('core._velocity_refusal(bigint[],core.velocity_rules,integer,core.transfer_request,timestamp with time zone)', false),
('core._velocity_rooms(uuid[],uuid[],core.velocity_rules,timestamp with time zone)', false),
('core._velocity_rules(timestamp with time zone)', false),
('core._wallet_event(uuid)', false),
('core._wallet_payload(uuid,text,bigint,bigint,bigint,bigint,bigint)', false),
('core._wallet_rows(uuid,uuid)', false);

-- They make and move tables, or tables need them, so tessera_owner owns them. ledger: tessera_ledger calls them.
CREATE TEMP TABLE of_the_owner (signature, definer, ledger) ON COMMIT DROP AS VALUES
('core._attach_partition(core.partitioned,text,timestamp with time zone,timestamp with time zone)', false, false),
('core._channel_day(timestamp with time zone)', false, false),
('core._cluster()', false, true),
('core._drop_channel_days(timestamp with time zone)', true, true),
('core._guard_partition()', false, false),
('core._hold_outbox()', true, true),
('core._history()', false, true),
('core._make_channel_days(timestamp with time zone,integer)', true, true),
('core._make_partitions(interval)', true, true),
('core._month_sums(uuid,uuid)', false, false),
('core._months_fit(uuid,uuid,timestamp with time zone)', false, false),
('core._move_month(text,boolean)', true, true),
('core._new_partition(core.partitioned,text,timestamp with time zone,timestamp with time zone)', false, false),
('core._partition_name(text,timestamp with time zone)', false, false),
('core._shut_partition(text)', false, false),
('core._uuid_at(timestamp with time zone)', false, true),
('core._uuid_floor(timestamp with time zone)', false, true),
('core._uuid_time(uuid)', false, true);

CREATE TEMP TABLE expected ON COMMIT DROP AS
SELECT
    s.*,
    p.oid,
    n.nspname AS schema,
    p.proname AS name,
    ARRAY(
        SELECT t.type::regtype::name FROM unnest(p.proargtypes) WITH ORDINALITY AS t (type, ord) ORDER BY t.ord
    ) AS arguments
FROM (
    SELECT c.signature, true AS definer, 'tessera_ledger' AS owner, '{app, scheduler, dba, ledger}'::text [] AS callers
    FROM contract AS c
    UNION ALL
    SELECT p.signature, true, 'tessera_ledger', '{dba, ledger}' FROM people AS p
    UNION ALL
    SELECT w.signature, true, 'tessera_ledger', '{scheduler, ledger}' FROM schedulers AS w
    UNION ALL
    SELECT i.signature, i.definer, 'tessera_ledger', '{ledger}' FROM internal AS i
    UNION ALL
    SELECT o.signature, o.definer, 'tessera_owner', CASE WHEN o.ledger THEN '{ledger, owner}' ELSE '{owner}' END::text []
    FROM of_the_owner AS o
    UNION ALL
    -- the default of primary keys, so whoever inserts calls it
    SELECT 'core.uuid7()', false, 'tessera_owner', '{app, scheduler, dba, ledger, owner}'
) AS s
LEFT JOIN pg_proc AS p ON p.oid = to_regprocedure(s.signature)
LEFT JOIN pg_namespace AS n ON n.oid = p.pronamespace;

SELECT set_eq(
    $$SELECT p.oid::regprocedure::text FROM pg_proc AS p
    WHERE p.pronamespace IN ('core'::regnamespace, 'api'::regnamespace)$$,
    'SELECT e.signature FROM expected AS e',
    'every function is listed'
);

SELECT function_owner_is(e.schema, e.name, e.arguments, e.owner::name) FROM expected AS e ORDER BY e.signature;

SELECT CASE
    WHEN e.definer THEN is_definer(e.schema, e.name, e.arguments)
    ELSE isnt_definer(e.schema, e.name, e.arguments)
END
FROM expected AS e
ORDER BY e.signature;

SELECT function_privs_are(
    e.schema, e.name, e.arguments, coalesce('tessera_' || r.name, 'public')::name,
    CASE WHEN r.name = ANY (e.callers) THEN '{EXECUTE}' ELSE '{}' END::name []
)
FROM expected AS e
CROSS JOIN unnest(ARRAY['app', 'scheduler', 'dba', 'readonly', 'ledger', 'owner', NULL]) AS r (name)
ORDER BY e.signature, r.name;

-- Nobody puts a table or function of their own before ours.
SELECT ok(
    coalesce('search_path=pg_catalog, pg_temp' = ANY (p.proconfig), false), e.signature || ' pins its search_path'
)
FROM expected AS e
INNER JOIN pg_proc AS p ON p.oid = e.oid
WHERE e.definer OR p.prorettype = 'trigger'::regtype
ORDER BY e.signature;

SELECT is_empty(
    $$SELECT p.oid::regprocedure, s.setting FROM pg_proc AS p
    CROSS JOIN unnest(p.proconfig) AS s (setting)
    WHERE p.pronamespace IN ('core'::regnamespace, 'api'::regnamespace)
    AND s.setting !~ '^(search_path=pg_catalog, pg_temp|plan_cache_mode=force_(generic|custom)_plan|TimeZone=UTC|client_encoding=UTF8|lock_timeout=(2s|300ms)|enable_[a-z]+=off)$'$$,
    'no function sets anything else but what the planner may do, what a month is, and how long to wait'
);

SELECT * FROM finish();
ROLLBACK;
