-- begin -- one state of the database, in which nothing can be written
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY

-- holders -- accounts that have one of these tariffs on a day or later, with the tariff that they began with
SELECT a.id, a.number, a.tariff_id FROM account a
WHERE a.id IN (SELECT h.account_id FROM tariff_held h
               WHERE h.tariff_id = ANY(%(tariffs)s) AND coalesce(h.to_day, 'infinity') > %(since)s)
ORDER BY a.id
