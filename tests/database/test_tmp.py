from tests.database.small_site import *
from datetime import timedelta
def test_k(database_url):
    async def story(connection):
        meter = (await Site.of().take_over(connection))["P1"]
        await store(connection, freeze(meter, OPEN, 100, skew=timedelta(days=29000)))
        print(await rows(connection, "select clock_skew_s from reading"), 29000*86400)
        await store(connection, freeze(meter, OPEN+DAY, 10**18))
        print(await rows(connection, "select total from reading"))
    on(database_url, story)
