import pytest

from studio.access import LOCAL, LOCAL_USER, User, require
from studio.errors import ForbiddenError

GUEST = User("ann", "guest")


def test_the_local_user_may_do_all():
    assert all(LOCAL_USER.may(action) for action in LOCAL)


def test_a_guest_may_generate_and_nothing_else():
    assert [action for action in sorted(LOCAL) if GUEST.may(action)] == ["generate"]


@pytest.mark.parametrize("action", sorted(LOCAL - {"generate"}))
def test_what_a_guest_may_not_do_is_refused_in_a_sentence(action):
    with pytest.raises(ForbiddenError, match=r"^[A-Z].*\.$"):
        require(GUEST, action)


def test_an_unknown_action_or_role_is_a_mistake_not_a_yes():
    with pytest.raises(KeyError):
        LOCAL_USER.may("fly")
    with pytest.raises(KeyError):
        User("x", "admin").may("generate")
