-- _stream_fault: what of a stream cannot be as it is said to be.
-- Locks    nothing
-- Decides  that
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._stream_fault(
    p_title text,
    p_visibility text,
    p_ticket_price bigint,
    p_seats integer,
    p_starts_at timestamptz,
    p_sales_from timestamptz,
    p_sales_to timestamptz
) RETURNS text
LANGUAGE sql IMMUTABLE
AS $$
    SELECT CASE
        WHEN (octet_length(btrim(p_title)) BETWEEN 1 AND 200 AND p_title ~ '\S') IS NOT TRUE THEN 'title'
        WHEN (p_visibility IN ('public', 'private')) IS NOT TRUE THEN 'visibility'
        WHEN (p_ticket_price BETWEEN 0 AND 1000000000) IS NOT TRUE THEN 'ticket_price'
        WHEN p_seats NOT BETWEEN 1 AND 10000000 THEN 'seats'
        WHEN p_starts_at NOT BETWEEN '2000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN 'starts_at'
        WHEN p_sales_from NOT BETWEEN '2000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00' THEN 'sales_from'
        WHEN
            p_sales_to NOT BETWEEN '2000-01-01 00:00:00+00' AND '9999-12-30 00:00:00+00' OR p_sales_to <= p_sales_from
            THEN 'sales_to'
    END
$$;

COMMENT ON FUNCTION core._stream_fault(text, text, bigint, integer, timestamptz, timestamptz, timestamptz) IS
'The name of the first field that will not do; NULL when all do.';
