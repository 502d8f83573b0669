-- _take_room: use up what a payment needs of the velocity limits, or give it back.
-- Locks    nothing
-- Decides  whether it fits every rule that is for it
-- Writes   nothing
-- Errors   none
CREATE OR REPLACE FUNCTION core._take_room(
    p_rooms bigint [],
    p_rules core.velocity_rules,
    p_place integer,
    p_request core.transfer_request,
    p_sign integer
) RETURNS bigint []
LANGUAGE plpgsql IMMUTABLE
AS $$
DECLARE
    v_rooms bigint[] := p_rooms;
    v_count CONSTANT integer := cardinality(p_rules.rules);
    v_at integer;
    v_need bigint;
BEGIN
    FOR v_r IN 1..v_count LOOP
        CONTINUE WHEN p_rules.scopes[v_r] <> p_request.kind OR p_rules.assets[v_r] <> p_request.asset;
        v_at := (p_place - 1) * v_count + v_r;
        v_need := CASE WHEN p_rules.counted[v_r] THEN 1 ELSE p_request.amount END;
        CONTINUE WHEN v_rooms[v_at] = 9223372036854775807;
        IF p_sign > 0 AND v_rooms[v_at] < v_need THEN
            RETURN NULL;
        END IF;
        v_rooms[v_at] := v_rooms[v_at] - p_sign * v_need;
    END LOOP;
    RETURN v_rooms;
END;
$$;

COMMENT ON FUNCTION core._take_room(bigint [], core.velocity_rules, integer, core.transfer_request, integer) IS
'The rooms of core._velocity_rooms after a payment by the wallet at p_place (p_sign 1) or after taking it back (-1); NULL when it does not fit.';
