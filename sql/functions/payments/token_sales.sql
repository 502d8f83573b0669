-- token_sales: what tokens were sold for, and what they would be paid out at.
-- Locks    nothing
-- Decides  nothing
-- Writes   nothing
-- Errors   TS801 CONFIGURATION_ERROR
CREATE OR REPLACE FUNCTION api.token_sales(p_from timestamptz, p_to timestamptz)
RETURNS TABLE (
    currency text,
    payments bigint,
    gross numeric,
    given_back numeric,
    net numeric,
    tokens_sold numeric,
    tokens_taken_back numeric,
    token_value_usd numeric
)
LANGUAGE sql STABLE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
    SELECT
        p.currency,
        count(*),
        sum(p.amount),
        sum(least(p.refunded + p.disputed, p.amount)),
        sum(p.amount - least(p.refunded + p.disputed, p.amount)),
        sum(p.tokens),
        sum(p.reversed),
        sum(p.tokens - p.reversed) * core._rate('token_value', 'TOKEN')
    FROM core.payments AS p
    WHERE p.paid_at >= p_from AND p.paid_at < p_to
    GROUP BY p.currency
$$;

COMMENT ON FUNCTION api.token_sales(timestamptz, timestamptz) IS
'Payments paid from p_from up to p_to, a row a currency: gross, given_back (refunded or in dispute) and net in its minor unit; tokens sold and taken back; and what the rest would be paid out at in USD (rate token_value). The platform''s margin is in api.margin.';
