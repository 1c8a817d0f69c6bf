-- Removes the index for searches; everything in it can be made anew.
DROP TABLE search_progress;
DROP TABLE search_late;
DROP TABLE participations;
DROP TABLE search_words;
DROP TABLE search_index;
