-- _tip_fee: the fee of a tip that was sent before. A function, so that a batch without replays opens no partition of tips.
-- Errors   none
CREATE OR REPLACE FUNCTION core._tip_fee(p_tip uuid) RETURNS bigint
LANGUAGE plpgsql STABLE
AS $$
BEGIN
    RETURN (SELECT t.platform_fee FROM core.tips AS t WHERE t.id = p_tip);
END;
$$;

COMMENT ON FUNCTION core._tip_fee(uuid) IS 'The platform''s fee of a tip, in tokens.';
