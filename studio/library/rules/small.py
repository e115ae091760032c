"""Small files: textual inversion embeddings and hypernetworks."""

from dataclasses import dataclass

from studio.library.header import shown
from studio.library.identity import Identity
from studio.library.names import PLANS
from studio.library.rules.subject import FLOATS, STARTER, Subject

WIDTHS = {768: "sd1", 1024: "sd2"}  # of a token's vector where there is one text encoder
TWO = {"clip_l": 768, "clip_g": 1280}  # SDXL's encoders
VECTORS_MAX = 150
OUT = ("clip_l_out", "clip_g_out")  # what OneTrainer adds, for the end of the text encoders
TOKENS = "string_to_token."  # numbers of words, which some files keep as tensors
FIXED_NAMES = ("emb_params", "string_to_param.*")
EMBEDDING_REASON = "Its vectors are words of no text encoder that is known here."
HYPER_REASON = "Its networks are for features of no base model that is known here."
OWN_WIDTHS = {320, 384, 640, 1280, 1536}  # of a UNet's own features, in self-attention


def recognise(subject: Subject) -> Identity | None:
    """An embedding or a hypernetwork; None if it is neither."""
    return _embedding(subject) or _hypernetwork(subject)


@dataclass(frozen=True)
class Token:
    """One tensor of an embedding: `vectors` of `width`; () where the tensor is no such thing."""

    vectors: int
    width: int


def _embedding(subject: Subject) -> Identity | None:
    """Four layouts: A1111's string_to_param, kohya's emb_params, diffusers' one tensor by its token, SDXL's two.

    Source: AUTOMATIC1111, modules/textual_inversion/textual_inversion.py, create_embedding_from_data.
    """
    names = [name for name in subject.tensors if not name.startswith(TOKENS)]
    if not 1 <= len(names) <= 5:
        return None
    tokens = {name: _token(subject, name) for name in names}
    if set(tokens) & {*TWO, "t5xxl"}:
        return _two(subject, tokens)
    (name, token), *more = tokens.items()
    if more or token is None or (name not in FIXED_NAMES and not _is_word(subject, name)):
        return None
    trigger = shown(subject.name if name in FIXED_NAMES else name)
    return _embedded(subject, WIDTHS.get(token.width, "unknown"), token, trigger)


def _two(subject: Subject, tokens: dict[str, Token | None]) -> Identity | None:
    whole = {name: token.width for name, token in tokens.items() if token and name not in OUT} == TWO
    token = tokens.get("clip_g") or tokens.get("clip_l")
    if token is None or (not whole and None in tokens.values()):
        return None
    return _embedded(subject, "sdxl" if whole else "unknown", token, shown(subject.name))


def _embedded(subject: Subject, base: str, token: Token, trigger: str) -> Identity:
    return Identity(
        kind="embedding",
        base=base,
        precision=subject.precision,
        usable=base != "unknown",
        reason=EMBEDDING_REASON if base == "unknown" else "",
        width=token.width,
        trigger_words=(trigger,),
        evidence=f"It holds {token.vectors} {'vector' if token.vectors == 1 else 'vectors'} of width {token.width}.",
        possible=(),  # its width told
    )


def _token(subject: Subject, name: str) -> Token | None:
    info = subject.tensors[name]
    shape = (1, *info.shape) if len(info.shape) == 1 else info.shape
    if len(shape) != 2 or info.dtype not in FLOATS or not 1 <= shape[0] <= VECTORS_MAX:
        return None
    known = shape[1] in (*WIDTHS, *TWO.values(), 4096) or STARTER in subject.header.metadata
    return Token(shape[0], shape[1]) if known else None


def _is_word(subject: Subject, name: str) -> bool:
    """Whether a tensor's name may be a token of a prompt and not a part of a network."""
    if subject.place == "embedding" or (name.startswith("<") and name.endswith(">")):
        return True
    return "." not in name and name not in ("weight", "bias", "tensor", "latents")


def _hypernetwork(subject: Subject) -> Identity | None:
    """A1111's: for each width two networks, one for keys and one for values.

    Source: AUTOMATIC1111, modules/hypernetworks/hypernetwork.py: {width: [state, state], "step": ..., "name": ...}.
    """
    widths: set[int] = set()
    torn = False
    for name, info in subject.tensors.items():
        parts = name.split(".")
        if len(parts) < 4 or not parts[0].isdigit() or parts[1] not in ("0", "1") or not parts[2].startswith("linear"):
            return None
        widths.add(int(parts[0][:6]))
        torn = torn or (parts[2:] == ["linear", "0", "weight"] and info.shape[1:2] != (int(parts[0][:6]),))
    if not widths:
        return None
    texts = {plan.width: base for base, plan in PLANS.items() if base != "sdxl-refiner"}
    read = widths & texts.keys()
    base = texts[next(iter(read))] if len(read) == 1 and widths <= read | OWN_WIDTHS and not torn else "unknown"
    return Identity(
        kind="hypernetwork",
        base=base,
        precision=subject.precision,
        usable=base != "unknown",
        reason=HYPER_REASON if base == "unknown" else "",
        width=next(iter(read)) if len(read) == 1 else 0,
        evidence=f"It is a hypernetwork for features of widths {', '.join(map(str, sorted(widths)[:8]))}.",
        possible=() if read else None,
    )
