-- claim -- a database that is nobody's becomes this site's
INSERT INTO site (name, zone) VALUES (%(name)s, %(zone)s) ON CONFLICT DO NOTHING

-- owner -- whose it is
SELECT name, zone FROM site
