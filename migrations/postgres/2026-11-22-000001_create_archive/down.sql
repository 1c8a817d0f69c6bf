-- Removes the archive with everything in it. Views must be gone before.
DROP TABLE settings;
DROP TABLE progress;
DROP TABLE quarantine;
DROP TABLE occupancy_events;
DROP TABLE rooms;
DROP TABLE bounces;
DROP TABLE message_keys;
DROP TABLE deliveries;
DROP TABLE messages;
DROP TABLE conversation_names;
DROP TABLE nodes;
DROP TABLE jids;
