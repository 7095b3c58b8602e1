"""Blocks are Merkle trees as RFC 6962 has them, and one leaf can be proved without the others."""

from datetime import UTC, datetime
from hashlib import sha256

from hypothesis import given
from hypothesis import strategies as st

from daemon.billing.sealing import FIRST, Head, cut, leaf, levels, path, root, root_of_path, short

CONTENTS = st.lists(st.binary(max_size=8), min_size=1, max_size=40)


def tree_hash(contents: list[bytes]) -> bytes:
    """RFC 6962, 2.1, word by word: split at the largest power of two below the number."""
    if len(contents) == 1:
        return sha256(b"\x00" + contents[0]).digest()
    split = 1
    while split * 2 < len(contents):
        split *= 2
    return sha256(b"\x01" + tree_hash(contents[:split]) + tree_hash(contents[split:])).digest()


@given(CONTENTS)
def test_the_root_is_that_of_rfc_6962(contents: list[bytes]) -> None:
    assert root([leaf(content) for content in contents]) == tree_hash(contents)


@given(CONTENTS, st.data())
def test_a_path_leads_from_its_leaf_to_the_root_and_from_no_other(
    contents: list[bytes], data: st.DataObject
) -> None:
    leaves = [leaf(content) for content in contents]
    place = data.draw(st.integers(0, len(leaves) - 1))
    steps = path(leaves, place)
    assert len(steps) <= (len(leaves) - 1).bit_length()
    assert root_of_path(leaves[place], steps) == root(leaves)
    assert root_of_path(leaf(contents[place] + b"x"), steps) != root(leaves)


@given(CONTENTS, st.data())
def test_any_bit_of_any_leaf_changes_the_root(contents: list[bytes], data: st.DataObject) -> None:
    leaves = [leaf(content) for content in contents]
    place = data.draw(st.integers(0, len(leaves) - 1))
    bit = data.draw(st.integers(0, 255))
    flipped = (int.from_bytes(leaves[place]) ^ (1 << bit)).to_bytes(32)
    assert root([*leaves[:place], flipped, *leaves[place + 1 :]]) != root(leaves)


def test_the_head_is_a_leaf_of_documented_json() -> None:
    head = Head(7, 3, 12, FIRST, b"\xaa" * 32, datetime(2026, 3, 1, 0, 0, 0, 5, tzinfo=UTC))
    told = b'["block", 7, 3, 12, "' + b"00" * 32 + b'", "' + b"aa" * 32 + b'", 1772323200000005]'
    assert head.leaf() == sha256(b"\x00" + told).digest()


def test_the_last_level_of_a_tree_is_its_root() -> None:
    leaves = [leaf(b"a"), leaf(b"b"), leaf(b"c")]
    for count in (1, 2, 3):
        assert levels(leaves[:count])[-1] == [root(leaves[:count])]


def test_leaves_are_kept_one_behind_the_other() -> None:
    leaves = [leaf(b"a"), leaf(b"b"), leaf(b"c")]
    assert cut(b"".join(leaves)) == leaves
    assert cut(short(b"".join(leaves)), 4) == [it[:4] for it in leaves]
