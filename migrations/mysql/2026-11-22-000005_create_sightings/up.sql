-- Creates the record of which feeds of a node brought what, for nodes that mirror to
-- several component domains so that any archiver may die.
--
-- What all feeds bring stands once in deliveries, bounces and occupancy_events. Who
-- brought it must be known as well, or the next equal copy could not be told from one
-- that another feed has brought already. A node with one feed has no rows here, and a
-- row that only the first entry of a node brought has none either.

CREATE TABLE sightings (
    row_id BIGINT NOT NULL COMMENT 'messages.id, bounces.id or occupancy_events.id',
    at BIGINT NOT NULL COMMENT 'When it came by this feed (microseconds since 1970, UTC)',
    seq INTEGER NOT NULL COMMENT 'deliveries.seq, else 0',
    kind SMALLINT NOT NULL COMMENT '1 a row of deliveries, 2 of bounces, 3 of occupancy_events',
    node_id SMALLINT NOT NULL COMMENT 'nodes.id of the entry by which it came',
    is_first SMALLINT NOT NULL COMMENT '1 when this feed was the first to bring it, else 0. Without a row with 1 that was the entry in node_id of the row itself',
    PRIMARY KEY (kind, row_id, seq, node_id)
)
    ENGINE = InnoDB, ROW_FORMAT = DYNAMIC,
    CHARACTER SET = utf8mb4, COLLATE = utf8mb4_bin,
    COMMENT = 'Which further feed of a node brought a row that others brought as well';
