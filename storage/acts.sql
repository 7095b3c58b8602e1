-- note_acts -- who typed what, and where
INSERT INTO act (actor, by_way_of, command) SELECT * FROM unnest(%(actors)s::text[], %(ways)s::text[], %(commands)s::text[]);
