-- What services may say in the audit log: what was done, to what and from where. Not when, by which login, or before what
-- else: an act could be dated into months that are sealed, or into a partition of the far future.

REVOKE INSERT ON core.audit_log FROM tessera_app, tessera_scheduler;
GRANT INSERT (actor_id, action, subject_id, details, request_id, address) ON core.audit_log TO tessera_app, tessera_scheduler;
