-- Removes the record of gaps and the counts. Messages stay; that something was missed is forgotten.
DROP TABLE tallies;
DROP TABLE gaps;
DELETE FROM settings WHERE name = 'tallied_since' OR name LIKE 'queue %';
