"""Who asks, and what they may do: one table for the page, the routes and the command line."""

from dataclasses import dataclass

from studio.errors import ForbiddenError

GUEST = frozenset({"generate"})
LOCAL = GUEST | {
    "see_all",
    "delete",
    "order",
    "settings",
    "open_folder",
    "free",
    "download",
    "models",
    "tools",
    "train",
}
ACTIONS = {"local": LOCAL, "guest": GUEST}
SAYS = {
    "delete": "Guests cannot delete pictures.",
    "order": "Guests cannot change the order of the queue.",
    "settings": "Guests cannot change settings.",
    "open_folder": "Folders are opened on the studio's own machine only.",
    "free": "Guests cannot unload models.",
    "models": "Guests cannot change the list of models.",
    "download": "Guests cannot download models.",
    "tools": "Guests cannot make model files.",
    "train": "Guests cannot train.",
    "see_all": "Guests see their own pictures and jobs only.",
}


@dataclass(frozen=True)
class User:
    """role: local (the person whose machine this is) or guest (somebody with an account on a shared studio)."""

    name: str
    role: str

    def may(self, action: str) -> bool:
        """Whether the user may do that. Raises: KeyError, for an action or a role that is not in the table."""
        if action not in LOCAL:
            raise KeyError(action)
        return action in ACTIONS[self.role]


LOCAL_USER = User("local", "local")


def require(user: User, action: str) -> None:
    """Raises: ForbiddenError, if the user may not do that."""
    if not user.may(action):
        raise ForbiddenError(SAYS.get(action, "You may not do this here."))
