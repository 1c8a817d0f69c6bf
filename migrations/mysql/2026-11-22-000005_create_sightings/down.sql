-- Removes the record of which further feeds of a node brought what.
DROP TABLE sightings;
