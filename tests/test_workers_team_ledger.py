"""The ledger of a team: whoever is late, dead or wrong, each epoch is told once and in order."""

import asyncio
import hashlib

import pytest

from models.errors import CertifyError
from workers.team_ledger import UNTAKEN, Ledger


def told(steps):
    return asyncio.run(asyncio.wait_for(steps, timeout=20))


def sha(state):
    return hashlib.sha256(state).hexdigest()


def test_epochs_are_taken_in_order_and_the_team_waits_for_the_driver():
    async def steps():
        ledger = Ledger(None, [])
        writes = [
            asyncio.create_task(ledger.write(epoch, b"%d" % epoch, {"epoch": epoch}))
            for epoch in range(UNTAKEN + 1)
        ]
        await asyncio.sleep(0.05)
        assert [write.done() for write in writes] == [True] * UNTAKEN + [False]
        for epoch in range(UNTAKEN + 1):
            assert await ledger.take(epoch) == (b"%d" % epoch, {"epoch": epoch})
        await asyncio.gather(*writes)

    told(steps())


def test_a_team_begins_where_the_last_epoch_ended_and_all_its_members_at_one_place():
    async def steps():
        ledger = Ledger(b"past", [{"epoch": 0}])
        assert await ledger.begin("first") == (b"past", [{"epoch": 0}])
        await ledger.write(1, b"next", {"epoch": 1})
        assert await ledger.begin("first") == (b"past", [{"epoch": 0}])
        assert await ledger.begin("second") == (b"next", [{"epoch": 0}, {"epoch": 1}])

    told(steps())


def test_late_words_of_a_team_that_is_no_more_change_nothing():
    async def steps():
        ledger = Ledger(None, [])
        await ledger.write(0, b"state", {"epoch": 0})
        await ledger.write(0, b"other", {"epoch": 9})
        await ledger.write(2, b"beyond", {"epoch": 2})
        assert await ledger.take(0) == (b"state", {"epoch": 0})
        assert await ledger.begin("next") == (b"state", [{"epoch": 0}])

    told(steps())


def test_a_member_with_other_weights_is_refused_and_one_with_the_same_goes_on():
    async def steps():
        ledger = Ledger(None, [])
        waiting = asyncio.create_task(ledger.follow(0, sha(b"state")))
        await asyncio.sleep(0.05)
        assert not waiting.done()
        await ledger.write(0, b"state", {"loss": 1.0})
        assert await waiting == {"loss": 1.0}
        with pytest.raises(CertifyError, match="epoch 0: found weights that differ"):
            await ledger.follow(0, sha(b"stale"))

    told(steps())


def test_a_refusal_comes_after_the_epochs_that_were_good():
    async def steps():
        ledger = Ledger(None, [])
        await ledger.write(0, b"good", {"epoch": 0})
        await ledger.refuse(CertifyError("epoch 1, step 3: diverged"))
        assert (await ledger.take(0))[0] == b"good"
        with pytest.raises(CertifyError, match="diverged"):
            await ledger.take(1)

    told(steps())
