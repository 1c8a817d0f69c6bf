-- Creates the record of which feeds of a node brought what, for nodes that mirror to
-- several component domains so that any archiver may die.
--
-- What all feeds bring stands once in deliveries, bounces and occupancy_events. Who
-- brought it must be known as well, or the next equal copy could not be told from one
-- that another feed has brought already. A node with one feed has no rows here, and a
-- row that only the first entry of a node brought has none either.

CREATE TABLE sightings ( -- Which further feed of a node brought a row that others brought as well
    -- 1 a row of deliveries, 2 of bounces, 3 of occupancy_events
    kind INTEGER NOT NULL,
    -- messages.id, bounces.id or occupancy_events.id
    row_id INTEGER NOT NULL,
    -- deliveries.seq, else 0
    seq INTEGER NOT NULL,
    -- nodes.id of the entry by which it came
    node_id INTEGER NOT NULL,
    -- 1 when this feed was the first to bring it, else 0. Without a row with 1 that was the entry in node_id of the row itself
    is_first INTEGER NOT NULL,
    -- When it came by this feed (microseconds since 1970, UTC)
    at INTEGER NOT NULL,
    PRIMARY KEY (kind, row_id, seq, node_id)
) STRICT, WITHOUT ROWID;
