-- register_user: a new account, with the wallets that open with every user.
-- Locks    nothing that exists
-- Decides  the form of email, username and display name; that email and username are free
-- Writes   users (and, by trigger, wallets)
-- Errors   TS101 INVALID_REQUEST, TS312 EMAIL_TAKEN, TS313 USERNAME_TAKEN
CREATE OR REPLACE FUNCTION api.register_user(
    p_email text,
    p_username text,
    p_display_name text,
    p_password_hash text
)
RETURNS TABLE (user_id uuid, email text, username text, display_name text, created_at timestamptz)
LANGUAGE plpgsql
VOLATILE
SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    v_email text := lower(btrim(p_email));
    v_username text := lower(btrim(p_username));
    v_display_name text := coalesce(nullif(btrim(p_display_name), ''), v_username);
    v_constraint text;
BEGIN
    IF v_email IS NULL OR v_email !~ '^[^@[:space:][:cntrl:]]+@[^@[:space:][:cntrl:]]+$' OR octet_length(v_email) > 254 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'email'), 'Give an email address.');
    END IF;
    IF v_username IS NULL OR v_username !~ '^[a-z0-9][a-z0-9_.-]{1,31}$' THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'username'),
            'Use 2 to 32 of a-z, 0-9, dot, dash and underscore, the first a letter or digit.');
    END IF;
    IF char_length(v_display_name) > 80 THEN
        PERFORM core._raise('TS101', 'INVALID_REQUEST', jsonb_build_object('field', 'display_name'), 'At most 80 characters.');
    END IF;
    RETURN QUERY
        INSERT INTO core.users AS u (email, username, display_name, password_hash)
        VALUES (v_email, v_username, v_display_name, p_password_hash)
        RETURNING u.id, u.email, u.username, u.display_name, u.created_at;
EXCEPTION
    WHEN unique_violation THEN
        GET STACKED DIAGNOSTICS v_constraint = CONSTRAINT_NAME;
        IF v_constraint = 'users_email_key' THEN
            PERFORM core._raise('TS312', 'EMAIL_TAKEN', '{}', 'Log in, or use another email address.');
        ELSIF v_constraint = 'users_username_key' THEN
            PERFORM core._raise('TS313', 'USERNAME_TAKEN', jsonb_build_object('username', v_username), 'Choose another username.');
        END IF;
        RAISE;
END;
$$;

COMMENT ON FUNCTION api.register_user(text, text, text, text) IS
'Make an account and its wallets. Email and username are stored in lower case; without a display name the username is shown. The password hash is argon2id in PHC form, or NULL for an account that cannot log in. Errors: TS101 INVALID_REQUEST, TS312 EMAIL_TAKEN, TS313 USERNAME_TAKEN.';
