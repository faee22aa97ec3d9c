from __future__ import annotations

import itertools

import pytest

from callmeter.config import SrtpConfig, SrtpSuite
from callmeter.errors import MediaSecurityError, NoCommonSuite, SdesKeyError
from callmeter.media.sdes_keying import SdesKeying

CM_80, GCM_256 = SrtpSuite.AES_CM_128_HMAC_SHA1_80, SrtpSuite.AEAD_AES_256_GCM
PACKET = bytes.fromhex("80000001000000a0cafebabe") + bytes(160)


def keying(*suites, start=1, **settings):
    numbers = itertools.count(start)
    config = SrtpConfig(suites=suites or (CM_80,), **settings)
    return SdesKeying(config, lambda size: bytes([next(numbers)]) * size)


def agree(ours, theirs):
    """One offer of ours and its answer."""
    ours.create_offer()
    offered = [line.to_attribute() for line in ours.offered]
    chosen = theirs.accept_offer(offered, moved=False)
    ours.accept_answer([chosen.to_attribute()], roc_continues=False)


def test_nothing_is_in_use_before_an_answer():
    ours = keying()
    ours.create_offer()
    assert (ours.in_use, ours.local, ours.remote, ours.send, ours.receive) == (
        False,
        None,
        None,
        None,
        None,
    )


def test_both_ends_read_what_the_other_sends():
    ours, theirs = keying(GCM_256, CM_80), keying(CM_80, start=100)
    agree(ours, theirs)
    assert ours.local.profile.name == theirs.local.profile.name == CM_80.value
    assert theirs.receive.unprotect(ours.send.protect(PACKET)) == PACKET
    assert ours.receive.unprotect(theirs.send.protect(PACKET)) == PACKET


def test_a_refresh_offers_the_line_in_use_alone_and_keeps_the_contexts():
    ours, theirs = keying(GCM_256, CM_80), keying(CM_80, start=100)
    agree(ours, theirs)
    contexts = ours.send, ours.receive, theirs.send, theirs.receive
    ours.create_offer()
    assert ours.offered == (ours.local,)
    agree(ours, theirs)
    assert ours.offered == ()
    assert (ours.send, ours.receive, theirs.send, theirs.receive) == contexts


def test_a_new_key_of_the_peer_is_answered_with_a_new_key():
    ours = keying()
    agree(keying(start=50), ours)
    send, receive = ours.send, ours.receive
    rekeyed = keying(start=60)
    agree(rekeyed, ours)
    assert ours.send is not send
    assert ours.receive is not receive
    assert ours.receive.unprotect(rekeyed.send.protect(PACKET)) == PACKET


def test_suites_without_a_common_one_are_refused_and_change_nothing():
    ours, theirs = keying(GCM_256), keying(CM_80)
    ours.create_offer()
    with pytest.raises(NoCommonSuite):
        theirs.accept_offer([line.to_attribute() for line in ours.offered], moved=False)
    assert not theirs.in_use


def test_an_answer_with_a_key_of_the_offer_is_refused():
    ours = keying()
    ours.create_offer()
    with pytest.raises(SdesKeyError):
        ours.accept_answer([line.to_attribute() for line in ours.offered], roc_continues=False)
    assert not ours.in_use


def test_unencrypted_srtcp_is_offered_where_configured():
    ours = keying(unencrypted_srtcp=True)
    ours.create_offer()
    assert "UNENCRYPTED_SRTCP" in str(ours.offered[0].to_attribute())


def test_a_fresh_offer_has_a_new_key_of_the_suite_in_use_alone():
    ours, theirs = keying(GCM_256, CM_80), keying(CM_80, start=100)
    agree(ours, theirs)
    before = ours.local
    ours.create_offer(fresh=True)
    (line,) = ours.offered
    assert line.profile is before.profile
    assert line.keys != before.keys
    chosen = theirs.accept_offer([line.to_attribute()], moved=False)
    ours.accept_answer([chosen.to_attribute()], roc_continues=True)
    assert ours.send.continues
    assert ours.local == line
    assert theirs.receive.unprotect(ours.send.protect(PACKET)) == PACKET
    assert ours.receive.unprotect(theirs.send.protect(PACKET)) == PACKET


def test_an_offer_that_is_withdrawn_leaves_the_keys_in_use():
    ours, theirs = keying(), keying(start=100)
    agree(ours, theirs)
    contexts = ours.local, ours.send, ours.receive
    ours.create_offer(fresh=True)
    ours.withdraw()
    assert ours.offered == ()
    assert (ours.local, ours.send, ours.receive) == contexts


def test_a_key_of_ours_that_goes_elsewhere_is_a_new_one():
    ours, theirs = keying(), keying(start=100)
    agree(ours, theirs)
    send, receive = theirs.send, theirs.receive
    theirs.accept_offer([ours.local.to_attribute()], moved=True)
    assert theirs.send is not send
    assert theirs.receive is receive


def test_a_key_no_context_can_be_made_of_changes_nothing(monkeypatch):
    ours, theirs = keying(), keying(start=100)
    agree(ours, theirs)
    before = theirs.local, theirs.remote, theirs.send, theirs.receive
    ours.create_offer(fresh=True)

    def refuse(line, direction, **_):
        if direction == "receive":
            raise MediaSecurityError("no")
        return before[2]

    monkeypatch.setattr("callmeter.media.sdes_keying.SrtpContext", refuse)
    monkeypatch.setattr("callmeter.media.sdes_keying._same_keys", lambda known, line: known is None)
    with pytest.raises(MediaSecurityError):
        theirs.accept_offer([line.to_attribute() for line in ours.offered], moved=False)
    assert (theirs.local, theirs.remote, theirs.send, theirs.receive) == before
