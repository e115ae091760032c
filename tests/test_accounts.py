import threading
import time

import pytest

from studio.access import LOCAL_USER, User
from studio.accounts import ACCOUNT, ADDRESS, SESSION_SECONDS, Account, Accounts, Brake, read_account, read_accounts
from studio.database import open_studio_database
from studio.errors import StartError

ANN = Account("ann", "correct horse")


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def accounts(tmp_path, clock):
    made = Accounts(open_studio_database(tmp_path / "studio.db")[0], clock)
    made.put(ANN)
    return made


def reopened(accounts: Accounts) -> Accounts:
    """The accounts as the next start finds them."""
    return Accounts(open_studio_database(accounts.database.path)[0])


def test_an_account_is_a_name_and_a_password_which_may_hold_colons():
    assert read_account("ann:pass:word\n") == Account("ann", "pass:word")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "USER:PASSWORD"),
        ("ann", "USER:PASSWORD"),
        (":long enough", "USER:PASSWORD"),
        ("a b:long enough", "USER:PASSWORD"),
        ("../x:long enough", "USER:PASSWORD"),
        ("a" * 61 + ":long enough", "USER:PASSWORD"),
        ("local:long enough", "owner"),
        ("Local:long enough", "owner"),
        ("ann:short", "too short"),
        ("ann:" + "x" * 1001, "too long"),
    ],
)
def test_what_is_no_account_is_refused_with_the_rule(text, said):
    with pytest.raises(StartError, match=said):
        read_account(text)


def test_a_file_holds_an_account_a_line(tmp_path):
    file = tmp_path / "accounts.txt"
    file.write_text("# who may come in\n\nann:correct horse\nbob:battery staple\n")
    assert [account.name for account in read_accounts(file)] == ["ann", "bob"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no account"),
        ("# nobody\n", "holds no account"),
        ("ann:correct horse\nbob\n", "line 2"),
        ("ann:correct horse\nann:battery staple\n", "line 2: ann was there"),
    ],
)
def test_a_wrong_file_is_refused_with_the_line(tmp_path, text, said):
    file = tmp_path / "accounts.txt"
    file.write_text(text)
    with pytest.raises(StartError, match=said):
        read_accounts(file)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "odd").write_bytes(b"\xff\xfe\x00")
    for name in ("none", "odd"):
        with pytest.raises(StartError, match=name):
            read_accounts(tmp_path / name)


def test_the_right_password_opens_and_any_other_does_not(accounts):
    assert accounts.check("ann", ANN.password) == User("ann", "guest")
    for name, password in [
        ("ann", "x"),
        ("ann", ""),
        ("Ann", ANN.password),
        ("bob", ANN.password),
        ("\ud800", "\ud800"),
    ]:
        assert accounts.check(name, password) is None, name


def test_passwords_are_nowhere_in_the_file(accounts):
    accounts.open_session(User("ann", "guest"))
    stored = b"".join(path.read_bytes() for path in accounts.database.path.parent.iterdir())
    assert ANN.password.encode() not in stored
    with accounts.database.read() as tx:
        first = dict(tx.execute("SELECT * FROM accounts").fetchone())
    accounts.put(Account("bob", ANN.password))
    with accounts.database.read() as tx:
        second = dict(tx.execute("SELECT * FROM accounts WHERE name = 'bob'").fetchone())
    assert first["hash"] != second["hash"]


def test_accounts_last_over_a_restart(accounts):
    again = reopened(accounts)
    assert again.check("ann", ANN.password) is not None
    assert again.ensure_one() is None


def test_without_an_account_one_is_made_and_told_once(tmp_path):
    accounts = Accounts(open_studio_database(tmp_path / "studio.db")[0])
    made = accounts.ensure_one()
    assert made is not None
    assert accounts.check(made.name, made.password) is not None
    assert accounts.ensure_one() is None


def test_accounts_that_are_given_replace_those_of_before(accounts):
    token = accounts.open_session(User("ann", "guest"))
    accounts.keep_only([Account("bob", "battery staple")])
    assert accounts.names() == ["bob"]
    assert accounts.check("ann", ANN.password) is None
    assert accounts.session(token) is None


def test_a_new_password_ends_sessions_and_the_same_one_keeps_them(accounts):
    token = accounts.open_session(User("ann", "guest"))
    accounts.put(ANN)
    assert accounts.session(token) is not None
    accounts.put(Account("ann", "battery staple"))
    assert accounts.session(token) is None
    assert accounts.log_in_again("ann", ANN.password, "1.1.1.1")[0] is None


def test_sessions_last_over_a_restart_and_end_in_time(accounts, monkeypatch):
    ann, owner = accounts.open_session(User("ann", "guest")), accounts.open_session(LOCAL_USER)
    again = reopened(accounts)
    assert (again.session(ann), again.session(owner)) == (User("ann", "guest"), LOCAL_USER)
    assert again.session("made up") is None
    end = time.time() + SESSION_SECONDS + 1
    monkeypatch.setattr("studio.accounts.time.time", lambda: end)
    assert again.session(ann) is None


def test_the_owners_key_is_new_at_each_start(accounts):
    assert accounts.owns(accounts.owner_key)
    assert not accounts.owns(reopened(accounts).owner_key)
    assert not accounts.owns("")
    assert not accounts.owns("\ud800")


def test_an_address_has_four_guesses_then_each_doubles_the_wait(accounts, clock):
    waits = []
    for _ in range(8):
        waits.append(accounts.log_in("ann", "guess", "1.1.1.1")[1])
        clock.now += waits[-1]
    assert waits == [0, 0, 0, 1, 2, 4, 8, 16]


def test_while_one_waits_even_the_right_password_is_not_looked_at(accounts, clock):
    for _ in range(4):
        accounts.log_in("ann", "guess", "1.1.1.1")
    assert accounts.log_in("ann", ANN.password, "1.1.1.1") == (None, 1.0)
    clock.now += 1
    assert accounts.log_in("ann", ANN.password, "1.1.1.1")[0] is not None


def test_the_wait_ends_growing_and_is_forgotten(clock):
    brake = Brake(clock)
    key = ("x", ADDRESS)
    for _ in range(3000):
        brake.take(key)
    assert brake.wait(key) == ADDRESS.longest
    clock.now += 3600
    assert brake.wait(key) == 0
    brake.take(key)
    assert brake.wait(key) == 0


def test_a_right_password_does_not_wipe_out_the_guesses_of_its_address(accounts):
    accounts.put(Account("eve", "battery staple"))
    for _ in range(3):
        accounts.log_in("ann", "guess", "6.6.6.6")
        accounts.log_in("eve", "battery staple", "6.6.6.6")
    assert accounts.log_in("ann", "guess", "6.6.6.6")[1] == 1


def test_guesses_from_many_addresses_slow_an_account_down_but_never_for_long(accounts, clock):
    waits = [accounts.log_in("ann", "guess", f"1.1.1.{number}")[1] for number in range(21)]
    assert waits[:19] == [0.0] * 19
    assert waits[19] == 1.0
    for number in range(10):
        clock.now += ACCOUNT.longest
        assert accounts.log_in("ann", "guess", f"2.2.2.{number}")[1] <= ACCOUNT.longest
    clock.now += ACCOUNT.longest
    assert accounts.log_in("ann", ANN.password, "3.3.3.3")[0] is not None


def test_others_are_not_slowed_down(accounts):
    accounts.put(Account("bob", "battery staple"))
    for _ in range(9):
        accounts.log_in("ann", "guess", "1.1.1.1")
    assert accounts.log_in("bob", "battery staple", "2.2.2.2")[0] is not None


def test_guesses_at_the_same_time_are_counted_one_by_one(accounts):
    heard = []

    def guess() -> None:
        heard.append(accounts.log_in("ann", "guess", "1.1.1.1"))

    threads = [threading.Thread(target=guess) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(wait == 0 for _, wait in heard) == ADDRESS.free - 1
    assert accounts.brake.tries["address 1.1.1.1", ADDRESS][0] == ADDRESS.free


def test_a_program_that_sends_its_password_each_time_is_not_slowed_down(accounts):
    for _ in range(30):
        assert accounts.log_in_again("ann", ANN.password, "1.1.1.1")[0] is not None
    assert accounts.log_in_again("ann", "guess", "1.1.1.1")[0] is None


def test_the_brake_remembers_a_bounded_number(clock):
    brake = Brake(clock)
    for number in range(200):
        brake.take((f"{number}", ACCOUNT))
    assert len(brake.tries) == 200
    brake.tries = {(f"x{n}", ACCOUNT): (1, 0.0) for n in range(10_000)}
    brake.take(("new", ACCOUNT))
    assert len(brake.tries) == 10_000
    assert ("new", ACCOUNT) in brake.tries


def test_a_wrong_password_is_logged_without_it(accounts, caplog):
    accounts.log_in("ann", "hunter2 guess", "1.1.1.1")
    assert "1.1.1.1" in caplog.text
    assert "hunter2" not in caplog.text


def test_an_unknown_name_is_hashed_like_a_known_one(accounts, monkeypatch):
    from studio import accounts as module

    hashed = []
    plain = module._hash
    monkeypatch.setattr(module, "_hash", lambda password, salt: hashed.append(len(salt)) or plain(password, salt))
    accounts.check("ann", "x")
    accounts.check("nobody", "x")
    assert hashed == [16, 16]
