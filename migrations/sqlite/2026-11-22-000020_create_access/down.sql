-- Removes accounts, sessions, tokens and the audit trail. Refused once there is anything in the audit trail:
-- whoever may drop its triggers has to do that first, by hand.
DELETE FROM audit WHERE id > 1;
DROP TABLE audit;
DROP TABLE tokens;
DROP TABLE sessions;
DROP TABLE people_groups;
DROP TABLE account_codes;
DROP TABLE accounts;
DELETE FROM settings WHERE name = 'audit';
